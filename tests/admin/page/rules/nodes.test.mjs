import assert from "node:assert/strict";
import { test } from "node:test";

import { isWell, rowsOf, summaryOf } from "../../../../squire_gatherings/_admin/page/static/nodes.mjs";

const node = (name, more = {}) => ({
  id: name,
  name,
  state: "up",
  gatherings: 1200,
  connections: 3,
  beat_age: 0.25,
  url: "",
  address: "",
  ...more,
});
const said = (nodes, more = {}) => ({ this: "a", lease_left: 4, nodes, ...more });

test("all that are up need no words", () => {
  assert.equal(summaryOf(said([node("a")])), "1 node");
  assert.equal(summaryOf(said([node("a"), node("b")])), "2 nodes, all up");
  assert.ok(isWell(said([node("a"), node("b", { state: "draining" })])));
});

test("what is wrong is said, of three at most", () => {
  const nodes = [node("a"), node("b", { state: "silent" }), node("c", { state: "draining" })];
  assert.equal(summaryOf(said(nodes)), "3 nodes: b gives no sign of life, c drains");
  assert.ok(!isWell(said(nodes)));
  const many = Array.from({ length: 5 }, (_, index) => node(`n${index}`, { state: "silent" }));
  assert.match(summaryOf(said(many)), /, and 2 more$/);
});

test("a node whose lease is over says that first", () => {
  for (const lease_left of [-1, 0, null]) {
    const over = said([node("a"), node("b")], { lease_left });
    assert.match(summaryOf(over), /can't tell/);
    assert.ok(!isWell(over));
  }
});

test("each has a row, and this one is marked", () => {
  const rows = rowsOf(said([node("a"), node("b", { beat_age: null, address: "10.0.0.2:8770" })]));
  assert.deepEqual(rows, [
    ["a (this one)", "up", "1,200", "3", "0.3 s ago", "its machine only"],
    ["b", "up", "1,200", "3", "left", "10.0.0.2:8770"],
  ]);
});
