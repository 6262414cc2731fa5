export class TabSocket {
    /**
     * @param {string} tab Which one this is.
     * @param {(what: object) => void} post Says something to the leader.
     */
    constructor(tab: string, post: (what: object) => void);
    /** @type {((event: any) => void) | null} */
    onopen: ((event: any) => void) | null;
    /** @type {((event: { data: any }) => void) | null} */
    onmessage: ((event: {
        data: any;
    }) => void) | null;
    /** @type {((event: { code: number, reason: string }) => void) | null} */
    onclose: ((event: {
        code: number;
        reason: string;
    }) => void) | null;
    /** @type {((event: any) => void) | null} */
    onerror: ((event: any) => void) | null;
    tab: string;
    post: (what: object) => void;
    /** @param {string} text */
    send(text: string): void;
    close(): void;
    opened(): void;
    /** @param {any} message */
    hear(message: any): void;
    /** @param {number} code @param {string} reason */
    shut(code: number, reason: string): void;
    /** @param {Released[]} released @param {string | undefined} epoch The last one's. */
    feed(released: Released[], epoch: string | undefined): void;
    #private;
}
export type Released = import("./replica.js").Released;
export type Op = import("./protocol.js").Op;
