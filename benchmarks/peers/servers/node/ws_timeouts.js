// node's ws, with a timer for each connection: what ends a room if the application writes it.
import { WebSocketServer } from "ws";

const after = Number(process.argv[2]) * 1000;
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false, backlog: 1024 });

server.on("connection", (socket) => {
  let timer;
  socket.on("message", (data, isBinary) => {
    clearTimeout(timer);
    timer = setTimeout(() => socket.close(4000, "idle"), after);
    socket.send(data, { binary: isBinary });
  });
  socket.on("close", () => clearTimeout(timer));
  socket.send("hi");
});
server.on("listening", () => console.log(`ws://127.0.0.1:${server.address().port}`));
