// Authors and listeners with Yjs: an event is an element of an array, heard when it is inserted.
import { HocuspocusProvider, HocuspocusProviderWebsocket } from "@hocuspocus/provider";
import WebSocket from "ws";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";
import { inTurn, proxy, server } from "./rooms_in_turn.js";

class Plain extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { perMessageDeflate: false });
    this.on("error", () => {});
  }
}

function byHocuspocus(url, room, document) {
  const websocketProvider = new HocuspocusProviderWebsocket({
    url: `${url}/?room=${room}`, WebSocketPolyfill: Plain, delay: 50, minDelay: 50, maxDelay: 200,
  });
  const provider = new HocuspocusProvider({ websocketProvider, name: room, document, token: "token" });
  provider.attach();
  return {
    ready: () => provider.synced,
    leave: () => [provider, websocketProvider].forEach((one) => one.destroy()),
  };
}

function byYWebsocket(url, room, document) {
  const provider = new WebsocketProvider(url, room, document, {
    WebSocketPolyfill: Plain, disableBc: true, maxBackoffTime: 200,
  });
  return { ready: () => provider.synced, leave: () => provider.destroy() };
}

const connect = process.argv[2] === "hocuspocus" ? byHocuspocus : byYWebsocket;

inTurn((room) => {
  const heard = [];
  const [there, here] = [new Y.Doc(), new Y.Doc()];
  there.getArray("log").observe(({ changes }) => {
    for (const { insert } of changes.delta) for (const word of insert ?? []) heard.push(Number(word.slice("EVENT-".length)));
  });
  const author = connect(server, room, here);
  let listener; // pycrdt-websocket forgets clients that come while it makes a room
  return {
    heard,
    ready: () => author.ready() && (listener ??= connect(proxy, room, there)).ready(),
    say: (n) => here.getArray("log").push([`EVENT-${n}`]),
    leave: () => [listener, author].forEach((one) => one?.leave()),
  };
});
