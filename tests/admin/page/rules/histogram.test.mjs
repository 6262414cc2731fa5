import assert from "node:assert/strict";
import test from "node:test";

import {
  BOUNDS,
  buckets,
  byReason,
  percentile,
} from "../../../../squire_gatherings/_admin/page/static/histogram.mjs";
import { parsed } from "../../../../squire_gatherings/_admin/page/static/stream.mjs";

const end = (lateness, reason = "idle") => ({ lateness, reason });

test("each end is in one bucket: the first whose bound isn't below", () => {
  const made = buckets([end(0), end(0.0005), end(0.00051), end(0.02, "empty"), end(7), end(null, "admin")]);
  assert.equal(made.length, BOUNDS.length);
  assert.deepEqual(made.map((bucket) => bucket.total), [2, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
  assert.deepEqual([...made[5].rules], [["empty", 1]]);
  assert.equal(made[0].label, "up to 500 µs");
  assert.equal(made.at(-1).label, "over 1.0 s");
});

test("percentiles are of those that have a lateness", () => {
  const ends = Array.from({ length: 200 }, (_, index) => end((200 - index) / 1000));
  assert.equal(percentile([...ends, end(null)], 50), 0.1);
  assert.equal(percentile(ends, 99), 0.198);
  assert.equal(percentile(ends, 100), 0.2);
  assert.equal(percentile([end(null)], 50), null);
});

test("reasons come by how frequent they are", () => {
  const ends = [end(1), end(1, "admin"), end(1, "admin"), end(1, "empty")];
  assert.deepEqual(byReason(ends), [["admin", 2], ["empty", 1], ["idle", 1]]);
});

test("events are read wherever they are cut", () => {
  const text = 'data: {"a": 1}\n\n: a comment\n\ndata: {"b":\ndata: 2}\n\n';
  for (let cut = 0; cut <= text.length; cut += 1) {
    const first = parsed(text.slice(0, cut));
    const second = parsed(first.rest + text.slice(cut));
    assert.deepEqual([...first.messages, ...second.messages], [{ a: 1 }, { b: 2 }]);
    assert.equal(second.rest, "");
  }
});
