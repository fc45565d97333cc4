// Loops over columns of doubles that lie in Python's memory; see columns.py, whose operations these are by name.
// Each is written out: one loop for every operation would be called, not compiled, at each element.

/** @param {number} a */
const roundEven = (a) => (Math.abs(a % 1) === 0.5 ? 2 * Math.round(a / 2) : Math.round(a));

/** @typedef {Float64Array<ArrayBufferLike>} Doubles */
/** Out, its length, then each operand with its stride: 0 for a single number.
 * @typedef {(o: Doubles, n: number, a: Doubles, p: number, b: Doubles, q: number, c: Doubles, r: number) => void} Loop */

/** @type {Record<string, Loop>} */
const LOOPS = {
  negative: (o, n, a, p) => { for (let i = 0; i < n; i += 1) o[i] = -a[i * p]; },
  invert: (o, n, a, p) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] ? 0 : 1; },
  absolute: (o, n, a, p) => { for (let i = 0; i < n; i += 1) o[i] = Math.abs(a[i * p]); },
  log: (o, n, a, p) => { for (let i = 0; i < n; i += 1) o[i] = Math.log(a[i * p]); },
  exp: (o, n, a, p) => { for (let i = 0; i < n; i += 1) o[i] = Math.exp(a[i * p]); },
  sqrt: (o, n, a, p) => { for (let i = 0; i < n; i += 1) o[i] = Math.sqrt(a[i * p]); },
  isfinite: (o, n, a, p) => { for (let i = 0; i < n; i += 1) o[i] = Number.isFinite(a[i * p]) ? 1 : 0; },
  floor: (o, n, a, p) => { for (let i = 0; i < n; i += 1) o[i] = Math.floor(a[i * p]); },
  ceil: (o, n, a, p) => { for (let i = 0; i < n; i += 1) o[i] = Math.ceil(a[i * p]); },
  trunc: (o, n, a, p) => { for (let i = 0; i < n; i += 1) o[i] = Math.trunc(a[i * p]); },
  round: (o, n, a, p) => { for (let i = 0; i < n; i += 1) o[i] = roundEven(a[i * p]); },
  add: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] + b[i * q]; },
  subtract: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] - b[i * q]; },
  multiply: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] * b[i * q]; },
  divide: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] / b[i * q]; },
  floor_divide: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = b[i * q] === 0 ? 0 : Math.floor(a[i * p] / b[i * q]); },
  modulo: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = b[i * q] === 0 ? 0 : a[i * p] - b[i * q] * Math.floor(a[i * p] / b[i * q]); },
  power: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] ** b[i * q]; },
  minimum: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] < b[i * q] ? a[i * p] : b[i * q]; },
  maximum: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] > b[i * q] ? a[i * p] : b[i * q]; },
  less: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] < b[i * q] ? 1 : 0; },
  less_equal: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] <= b[i * q] ? 1 : 0; },
  greater: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] > b[i * q] ? 1 : 0; },
  greater_equal: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] >= b[i * q] ? 1 : 0; },
  equal: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] === b[i * q] ? 1 : 0; },
  not_equal: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] !== b[i * q] ? 1 : 0; },
  and: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] && b[i * q] ? 1 : 0; },
  or: (o, n, a, p, b, q) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] || b[i * q] ? 1 : 0; },
  where: (o, n, a, p, b, q, c, r) => { for (let i = 0; i < n; i += 1) o[i] = a[i * p] ? b[i * q] : c[i * r]; },
};

/** @param {() => ArrayBufferLike} memory Python's memory, which moves when it grows */
export function columnLoops(memory) {
  /** @type {Doubles[]} */
  const single = [new Float64Array(1), new Float64Array(1), new Float64Array(1)];

  /** @param {string} code @param {number} out @param {number} length @param {(number | undefined | null)[]} parts
   * an address (or nothing) and a number for each operand */
  return (code, out, length, ...parts) => {
    const buffer = memory();
    if (code === "scatter") {
      scatter(new Float64Array(buffer, out), new Float64Array(buffer, Number(parts[2]), length), buffer, parts);
      return;
    }
    const target = new Float64Array(buffer, out, length);
    if (code === "gather") {
      const chosen = new Float64Array(buffer, Number(parts[2]), length);
      const values = new Float64Array(buffer, Number(parts[0]));
      for (let i = 0; i < length; i += 1) target[i] = values[chosen[i]];
      return;
    }
    const [a, b, c] = single.map((cell, index) => {
      const address = parts[2 * index];
      if (address != null) return new Float64Array(buffer, address, length);
      cell[0] = Number(parts[2 * index + 1] ?? 0);
      return cell;
    });
    LOOPS[code](target, length, a, stride(a), b, stride(b), c, stride(c));
  };

  /** @param {Doubles} target @param {Doubles} places @param {ArrayBufferLike} buffer
   * @param {(number | undefined | null)[]} parts */
  function scatter(target, places, buffer, [address, number]) {
    const values = address == null ? null : new Float64Array(buffer, address, places.length);
    for (let i = 0; i < places.length; i += 1) target[places[i]] = values ? values[i] : Number(number);
  }

  /** @param {Doubles} column */
  function stride(column) {
    return single.includes(column) ? 0 : 1;
  }
}
