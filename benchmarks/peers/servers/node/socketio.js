// Socket.IO on node: rooms.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const server = new Server(http, { transports: ["websocket"], perMessageDeflate: false });

server.on("connection", (socket) => {
  const { kind, room } = socket.handshake.query;
  socket.join(room);
  const to = kind === "echo" ? socket.id : room;
  socket.on("m", (data) => server.to(to).emit("m", data));
});
http.listen(0, "127.0.0.1", 1024, () => console.log(`ws://127.0.0.1:${http.address().port}`));
