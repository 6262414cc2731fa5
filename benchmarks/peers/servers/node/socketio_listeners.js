// Authors and listeners with socket.io-client.
import { io } from "socket.io-client";
import { inTurn, proxy, server } from "./rooms_in_turn.js";

const connect = (url, room) =>
  io(url, { query: { room }, transports: ["websocket"], forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200 });

inTurn((room) => {
  const heard = [];
  const [listener, author] = [connect(proxy, room), connect(server, room)];
  let joined = false;
  listener.on("connect", () => (joined = true));
  listener.on("m", ({ n }) => heard.push(n));
  return {
    heard,
    ready: () => joined && author.connected,
    say: (n) => author.emit("m", { n, text: `EVENT-${n}` }),
    leave: () => [listener, author].forEach((one) => one.disconnect()),
  };
});
