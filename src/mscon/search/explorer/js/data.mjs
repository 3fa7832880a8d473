// What the page is made of: JSON values, with arrays as base64 of little-endian numbers.

const KINDS = { i1: Int8Array, u1: Uint8Array, u2: Uint16Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };

export function unpack(text, kind) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return new KINDS[kind](bytes.buffer);
}

function readAlike(alike) {
  if (alike && alike.table) {
    const places = new Map(alike.values.map((value, i) => [value, i]));
    return { ...alike, table: unpack(alike.table, "u1"), places };
  }
  return alike && alike.levels ? { ...alike, levels: unpack(alike.levels, "i4") } : alike;
}

/** The page's data. Rows of a page that is served may be added, so their arrays are no typed arrays. */
export function readData(raw) {
  const optional = (text, kind) => (text === undefined ? null : unpack(text, kind));
  const growing = (text, kind) => (text === undefined ? null : raw.server ? Array.from(unpack(text, kind)) : unpack(text, kind));
  const ids = growing(raw.ids, "i4");
  return {
    ...raw,
    server: raw.server || null,
    isPictured: raw.server ? raw.server.pictures : raw.pictures.length > 0,
    ids,
    lines: growing(raw.lines, "i4"),
    rowOf: new Map(Array.from(ids, (id, row) => [id, row])),
    vectors: raw.vectors.map((text) => unpack(text, "i1")),
    columns: raw.columns.map((column) => ({
      ...column,
      codes: growing(column.codes, "i4"),
      values: growing(column.values, "f8"),
      texts: column.texts || null,
      doubt: optional(column.doubt, "f4"),
      known: optional(column.known, "u1"),
      apart: optional(column.apart, "f4"),
      alike: readAlike(column.alike),
    })),
  };
}
