// What is said of the nodes that form a hall. Without a document.

import { count } from "./format.mjs";

const STATES = {
  draining: "drains",
  silent: "gives no sign of life",
};

// One sentence: how many there are, and what is wrong with any of them.
export function summaryOf(said) {
  const many = said.nodes.length;
  const begins = `${count(many)} ${many === 1 ? "node" : "nodes"}`;
  if (!(said.lease_left > 0)) {
    return `${begins}: this one can't tell whether it is still one of them`;
  }
  const wrong = said.nodes.filter((node) => node.state !== "up");
  if (wrong.length === 0) return many === 1 ? begins : `${begins}, all up`;
  const words = wrong.slice(0, 3).map((node) => `${node.name} ${STATES[node.state]}`);
  if (wrong.length > words.length) words.push(`and ${wrong.length - words.length} more`);
  return `${begins}: ${words.join(", ")}`;
}

export function isWell(said) {
  return said.lease_left > 0 && said.nodes.every((node) => node.state !== "silent");
}

// The cells of each node's row.
export function rowsOf(said) {
  return said.nodes.map((node) => [
    node.id === said.this ? `${node.name} (this one)` : node.name,
    node.state,
    count(node.gatherings),
    count(node.connections),
    node.beat_age === null ? "left" : `${node.beat_age.toFixed(1)} s ago`,
    node.url || node.address || "its machine only",
  ]);
}
