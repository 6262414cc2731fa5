// Socket.IO: rooms, with the recovery of a connection's state unless it is told "off".
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const options = { transports: ["websocket"], perMessageDeflate: false };
if (process.argv[2] !== "off") options.connectionStateRecovery = { maxDisconnectionDuration: 60_000 };
const server = new Server(http, options);

server.on("connection", (socket) => {
  const { room } = socket.handshake.query;
  socket.join(room);
  socket.on("m", (data) => server.to(room).emit("m", data));
});
http.listen(0, "127.0.0.1", 1024, () => console.log(`ws://127.0.0.1:${http.address().port}`));
