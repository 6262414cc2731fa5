// Hocuspocus: documents, which it unloads when nobody is there and they were stored.
import { Server } from "@hocuspocus/server";

const debounce = Number(process.argv[2] ?? 2) * 1000;
const server = new Server({
  address: "127.0.0.1",
  port: 0,
  quiet: true,
  stopOnSignals: false,
  debounce,
  maxDebounce: 10 * debounce,
  unloadImmediately: false,
  async onStoreDocument() {},
  async afterUnloadDocument({ documentName }) {
    console.log("ended", documentName, Date.now());
  },
});
await server.listen();
console.log(`ws://127.0.0.1:${server.address.port}`);
