// node's ws: a loop of send.
import { WebSocketServer } from "ws";

const rooms = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false, backlog: 1024 });

server.on("connection", (socket, request) => {
  if (request.url.startsWith("/echo/")) {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.send("hi");
    return;
  }
  const room = rooms.get(request.url) ?? new Set();
  rooms.set(request.url, room.add(socket));
  socket.on("message", (data, isBinary) => {
    for (const one of room) one.send(data, { binary: isBinary });
  });
  socket.on("close", () => room.delete(socket));
  socket.send("hi");
});
server.on("listening", () => console.log(`ws://127.0.0.1:${server.address().port}`));
