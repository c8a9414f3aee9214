// Arrays between page and computer: the length of a JSON header, the header, raw little-endian values.

const KINDS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

/** [{name, shape, dtype, values}] of the bytes that `pack` or the computer made. */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let place = 4 + length;
  return header.map(({ name, shape, dtype }) => {
    const kind = KINDS[dtype];
    if (!kind) throw new Error(`no numbers of the kind ${dtype} in a browser`);
    const count = shape.reduce((product, extent) => product * extent, 1);
    const bytes = count * kind.BYTES_PER_ELEMENT;
    const values = new kind(buffer.slice(place, place + bytes)); // copied: a view may not begin anywhere
    place += bytes;
    return { name, shape, dtype, values };
  });
}

/** The bytes of [{name, shape, dtype, values}], as parts of a request's body. */
export function pack(arrays) {
  const header = arrays.map(({ name, shape, dtype }) => ({ name, shape: [...shape], dtype }));
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, text.length, true);
  return new Blob([length, text, ...arrays.map(({ values }) => values)]);
}
