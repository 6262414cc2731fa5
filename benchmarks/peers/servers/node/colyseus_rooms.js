// Colyseus: rooms that end by their own clock (idle), or when nobody came back in time (left).
import { createServer } from "node:http";
import { Room, Server } from "@colyseus/core";
import { WebSocketTransport } from "@colyseus/ws-transport";

const [, , story, seconds] = process.argv;

class TimedRoom extends Room {
  onCreate({ name }) {
    this.name = name;
    this.onMessage("m", (client, message) => {
      if (story === "idle") {
        this.idle?.clear();
        this.idle = this.clock.setTimeout(() => this.disconnect(), Number(seconds) * 1000);
      }
      client.send("m", message);
    });
  }

  onDrop(client) {
    if (story === "left") this.allowReconnection(client, Number(seconds));
  }

  onDispose() {
    if (story === "left") console.log("ended", this.name, Date.now());
  }
}

const http = createServer();
const server = new Server({ transport: new WebSocketTransport({ server: http }), greet: false });
server.define("timed", TimedRoom);
await server.listen(0, "127.0.0.1", 1024);
console.log(`ws://127.0.0.1:${http.address().port}`);
