export class Connection {
    /**
     * @param {object} parts
     * @param {Route} parts.route
     * @param {Settings} parts.settings
     * @param {Environment} parts.environment
     * @param {() => boolean} parts.isVisible
     * @param {number} parts.timeout For how long it may take to connect, and then to be let in.
     * @param {Handlers} parts.handlers
     */
    constructor({ route, settings, environment, isVisible, timeout, handlers }: {
        route: Route;
        settings: Settings;
        environment: Environment;
        isVisible: () => boolean;
        timeout: number;
        handlers: Handlers;
    });
    /** Whether the server has been asked to let us in. */
    hasAsked: boolean;
    /** Whether it has done so. */
    isIn: boolean;
    route: Route;
    settings: import("./settings.js").Settings;
    environment: Environment;
    isVisible: () => boolean;
    timeout: number;
    handlers: Handlers;
    /**
     * Get what a join needs, and connect. Never rejects.
     * @param {() => Promise<string | null>} askForToken
     */
    open(askForToken: () => Promise<string | null>): Promise<void>;
    /** Ask to be let in. @param {object} join */
    ask(join: object): void;
    /** The server has let us in. */
    letIn(): void;
    /** @param {string} text */
    send(text: string): void;
    /** Whether the socket has as much to send as it is given. */
    get isFull(): boolean;
    /** Ask whether the server is there. */
    probe(): void;
    /** When `tick` is due, if nothing happens before. */
    get nextAt(): number;
    /**
     * See whether something takes too long. Throws `Lost`.
     * @param {boolean} isLate Whether we were held up: then it isn't the server's fault, and what it
     *   said meanwhile is heard first.
     */
    tick(isLate: boolean): void;
    /** Nothing that it brings is heard any more. */
    drop(): void;
    #private;
}
export type Settings = import("./settings.js").Settings;
export type Incoming = import("./protocol.js").Incoming;
/**
 * What of a WebSocket is used.
 */
export type Socket = {
    bufferedAmount?: number | undefined;
    onopen: ((event: any) => void) | null;
    onmessage: ((event: {
        data: any;
    }) => void) | null;
    onclose: ((event: {
        code: number;
        reason: string;
    }) => void) | null;
    onerror: ((event: any) => void) | null;
    send: (text: string) => void;
    close: (code?: number) => void;
};
/**
 * A way to the gathering: to its server, or to a tab that has one.
 */
export type Route = {
    isServer: boolean;
    /**
     * The id that a join says.
     */
    client: string;
    /**
     * What must be read before one goes there.
     */
    prepare: () => Promise<void>;
    open: () => Socket;
    /**
     * Nothing is heard on it.
     */
    stuck?: (() => void) | undefined;
};
/**
 * What a session needs of the world.
 */
export type Environment = {
    /**
     * Milliseconds by a clock that is never set.
     */
    now: () => number;
    /**
     * Milliseconds since 1970.
     */
    wallTime: () => number;
    random: () => number;
    setTimer: (run: () => void, after: number) => any;
    clearTimer: (timer: any) => void;
};
/**
 * What is told, until the connection is dropped.
 */
export type Handlers = {
    /**
     * It can be asked to be let in.
     */
    opened: (token: string | null) => void;
    /**
     * Null for something of a later version.
     */
    heard: (message: Incoming | null) => void;
    failed: (error: unknown) => void;
};
