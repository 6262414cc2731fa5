// The list: which rows are on the screen, and what is known of them. Plain values; no document.

// Which rows are to be there, for a list that is scrolled so far. `margin` more on both sides, so
// that what comes next is there already.
export function windowOf({ scrollTop, height, rowHeight, total, margin = 20, most = 200 }) {
  const seen = Math.ceil(height / rowHeight) + 1;
  const top = Math.min(Math.floor(scrollTop / rowHeight), Math.max(0, total - seen));
  const offset = Math.max(0, top - margin);
  return { offset, count: Math.min(most, top + seen + margin - offset) };
}

// Whether a window shows all that is on the screen, or all there is.
export function covers(window, { scrollTop, height, rowHeight, total }) {
  const first = Math.min(Math.floor(scrollTop / rowHeight), total);
  const last = Math.min(total, Math.ceil((scrollTop + height) / rowHeight));
  return window.offset <= first && last <= window.offset + window.count;
}

export const EMPTY = Object.freeze({ offset: 0, ids: [], matched: 0, rows: new Map() });

// The list after some news. What isn't on it any more is forgotten.
export function applied(list, news) {
  const { offset, ids, matched } = news.order ?? list;
  const known = new Map(list.rows);
  for (const row of news.rows ?? []) known.set(row.id, row);
  const rows = new Map(ids.filter((id) => known.has(id)).map((id) => [id, known.get(id)]));
  return { offset, ids, matched, rows };
}

// What has changed between two lists: which rows came, went, or are others now.
export function difference(before, after) {
  const came = after.ids.filter((id) => !before.rows.has(id));
  const went = before.ids.filter((id) => !after.rows.has(id));
  const changed = after.ids.filter(
    (id) => before.rows.has(id) && before.rows.get(id) !== after.rows.get(id),
  );
  return { came, went, changed };
}

// Where the cursor is in a list that has changed: on the same gathering, or where that was.
export function cursorAfter(cursor, list, total) {
  if (cursor === null) return null;
  const at = list.ids.indexOf(cursor.id);
  if (at >= 0) return { id: cursor.id, index: list.offset + at };
  const isSeen = cursor.index >= list.offset && cursor.index < list.offset + list.ids.length;
  if (isSeen) return { id: list.ids[cursor.index - list.offset], index: cursor.index };
  return total === 0 ? null : { id: cursor.id, index: Math.min(cursor.index, total - 1) };
}

// The scroll position at which a row is wholly seen.
export function scrollFor(index, { scrollTop, height, rowHeight }) {
  const top = index * rowHeight;
  if (top < scrollTop) return top;
  return top + rowHeight > scrollTop + height ? top + rowHeight - height : scrollTop;
}
