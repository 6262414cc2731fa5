/**
 * A server's message; null for a type of a later version. Throws `Lost`.
 * @param {unknown} data What a WebSocket brought: text.
 * @returns {Incoming | null}
 */
export function decode(data: unknown): Incoming | null;
/**
 * A message that came as an object; null for a type of a later version. Throws `Lost`.
 * @param {any} value
 * @returns {Incoming | null}
 */
export function understand(value: any): Incoming | null;
export type Incoming = import("./protocol.js").Incoming;
