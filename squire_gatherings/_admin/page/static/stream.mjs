// The live stream: server-sent events, read by fetch, which also tells why there are none.

import { ApiError, failure } from "./api.mjs";

// The messages that a text begins with, and the rest of it.
export function parsed(text) {
  const parts = text.split("\n\n");
  const rest = parts.pop();
  const messages = parts
    .map((part) =>
      part
        .split("\n")
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).trimStart())
        .join("\n"),
    )
    .filter((data) => data !== "");
  return { messages: messages.map((data) => JSON.parse(data)), rest };
}

// Read the stream until it ends; `onMessage` gets each message, and when it came (performance.now).
export async function watch(onMessage, signal) {
  const answer = await fetch("/live", { signal, cache: "no-store" });
  if (!answer.ok) throw await failure(answer);
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    const received = performance.now() / 1000;
    if (done) throw new ApiError(0, "ended", "the server has ended the stream");
    const { messages, rest } = parsed(text + decoder.decode(value, { stream: true }));
    text = rest;
    for (const message of messages) onMessage(message, received);
  }
}
