// A list of rows, bounded in their number and in their text, since one event may
// have a megabyte.

export const mostRows = 10_000;
const mostText = 32 << 20; // characters
const spare = 1.1; // rows are dropped only beyond this much of a bound, so that many go at once

export class Bounded {
  #text = 0;

  // The rows are oldest first.
  constructor(rows = []) {
    this.rows = rows;
    for (const row of rows) this.#text += row.line.length;
  }

  // addNewest adds a row, and returns how many of the oldest rows were dropped.
  addNewest(row) {
    this.rows.push(row);
    this.#text += row.line.length;
    return this.#trim((n) => n, (n) => this.rows.splice(0, n));
  }

  // addOldest adds rows before the others, and returns how many of the newest rows
  // were dropped.
  addOldest(rows) {
    this.rows.unshift(...rows);
    for (const row of rows) this.#text += row.line.length;
    return this.#trim((n) => -1 - n, (n) => this.rows.splice(-n));
  }

  #trim(nth, drop) {
    const { rows } = this;
    if (rows.length <= spare * mostRows && this.#text <= spare * mostText) return 0;
    let n = 0;
    while (rows.length - n > mostRows || (this.#text > mostText && n < rows.length - 1)) {
      this.#text -= rows.at(nth(n)).line.length;
      n++;
    }
    drop(n);
    return n;
  }
}
