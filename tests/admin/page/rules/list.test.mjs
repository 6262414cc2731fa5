import assert from "node:assert/strict";
import test from "node:test";

import {
  EMPTY,
  applied,
  covers,
  cursorAfter,
  difference,
  scrollFor,
  windowOf,
} from "../../../../squire_gatherings/_admin/page/static/list.mjs";

const screen = { scrollTop: 0, height: 640, rowHeight: 32, total: 10_000 };

test("as many rows are there as the screen has, and some more", () => {
  assert.deepEqual(windowOf(screen), { offset: 0, count: 41 });
  assert.deepEqual(windowOf({ ...screen, scrollTop: 32_000 }), { offset: 980, count: 61 });
  // At the end, and beyond it, since the list has become shorter.
  for (const scrollTop of [319_360, 400_000]) {
    const { offset, count } = windowOf({ ...screen, scrollTop });
    assert.ok(offset < 9980 && offset + count >= 10_000);
  }
  // Of a list that isn't known yet, the first ones.
  assert.deepEqual(windowOf({ ...screen, total: 0 }), { offset: 0, count: 41 });
  // However high the screen is.
  assert.equal(windowOf({ ...screen, height: 1e6 }).count, 200);
});

test("wherever it is scrolled, the window covers what is seen", () => {
  for (let scrollTop = 0; scrollTop <= 319_360; scrollTop += 997) {
    const geometry = { ...screen, scrollTop };
    assert.ok(covers(windowOf(geometry), geometry), String(scrollTop));
  }
  assert.ok(!covers({ offset: 0, count: 41 }, { ...screen, scrollTop: 32_000 }));
  assert.ok(covers({ offset: 0, count: 3 }, { ...screen, total: 3 }));
});

const row = (id, seq = 0) => ({ id, seq });
const order = (ids, offset = 0) => ({ offset, ids, matched: 100 });

test("news change what they tell of, and nothing else", () => {
  const first = applied(EMPTY, { order: order(["a", "b", "c"]), rows: ["a", "b", "c"].map((id) => row(id)) });
  assert.deepEqual([...first.rows.keys()], ["a", "b", "c"]);
  const second = applied(first, { rows: [row("b", 5)] });
  assert.equal(second.rows.get("b").seq, 5);
  assert.equal(second.rows.get("a"), first.rows.get("a"));
  assert.equal(first.rows.get("b").seq, 0);
  const third = applied(second, { order: order(["d", "b"], 7), rows: [row("d")] });
  assert.deepEqual([third.offset, third.ids, [...third.rows.keys()]], [7, ["d", "b"], ["d", "b"]]);
  assert.deepEqual(difference(second, third), { came: ["d"], went: ["a", "c"], changed: [] });
  assert.deepEqual(difference(first, second), { came: [], went: [], changed: ["b"] });
});

test("the cursor stays on its gathering, or where that was", () => {
  const list = { offset: 10, ids: ["a", "b", "c"] };
  assert.deepEqual(cursorAfter({ id: "b", index: 40 }, list, 100), { id: "b", index: 11 });
  assert.deepEqual(cursorAfter({ id: "gone", index: 12 }, list, 100), { id: "c", index: 12 });
  assert.deepEqual(cursorAfter({ id: "far", index: 90 }, list, 50), { id: "far", index: 49 });
  assert.equal(cursorAfter({ id: "far", index: 90 }, { offset: 0, ids: [] }, 0), null);
  assert.equal(cursorAfter(null, list, 100), null);
});

test("it scrolls no further than it must", () => {
  assert.equal(scrollFor(5, screen), 0);
  assert.equal(scrollFor(20, screen), 32);
  assert.equal(scrollFor(3, { ...screen, scrollTop: 320 }), 96);
});
