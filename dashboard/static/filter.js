// The filter of the shown events, which is kept in the page's address.

const lists = ['agent', 'session', 'tool', 'action', 'run_id'];
const times = ['since', 'until'];

export class Filter {
  constructor(params = new URLSearchParams()) {
    this.lists = Object.fromEntries(lists.map((name) => [name, params.getAll(name).filter(Boolean)]));
    this.text = params.get('text') ?? '';
    for (const name of times) this[name] = isNaN(Date.parse(params.get(name))) ? '' : params.get(name);
    const text = this.text.toLowerCase();
    // The text may stand escaped in a line of the log, as quotes do.
    this.needles = text === '' ? [] : [...new Set([text, JSON.stringify(text).slice(1, -1)])];
    this.from = Date.parse(this.since) || -Infinity;
    this.to = Date.parse(this.until) || Infinity;
  }

  // write adds the filter to params, those of an address.
  write(params) {
    for (const name of lists) for (const value of this.lists[name]) params.append(name, value);
    for (const name of ['text', ...times]) if (this[name] !== '') params.set(name, this[name]);
  }

  // query is the part of the filter that the server applies: all but the text.
  get query() {
    return { ...this.lists, since: this.since, until: this.until };
  }

  get empty() {
    return this.text === '' && lists.every((name) => this.lists[name].length === 0) && times.every((name) => this[name] === '');
  }

  matches(row) {
    for (const name of lists) if (this.lists[name].length > 0 && !this.lists[name].includes(row[name])) return false;
    if (this.from !== -Infinity || this.to !== Infinity) {
      const at = Date.parse(row.timestamp);
      if (at < this.from || at >= this.to) return false;
    }
    if (this.needles.length === 0) return true;
    const [line, read] = [row.line.toLowerCase(), row.summary.toLowerCase()];
    return this.needles.some((n) => line.includes(n)) || read.includes(this.needles[0]);
  }
}

// words splits the text of a field at spaces into values. A value that contains a
// space or a quote is written as a JSON string.
export function words(text) {
  return Array.from(text.matchAll(/"(?:[^"\\]|\\.)*"|\S+/g), ([word]) => unquote(word));
}

export function unwords(values) {
  return values.map((v) => (/[\s"]/.test(v) ? JSON.stringify(v) : v)).join(' ');
}

function unquote(word) {
  try {
    return word.startsWith('"') ? JSON.parse(word) : word;
  } catch {
    return word; // the string is still being typed
  }
}
