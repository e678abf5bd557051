// Which events are shown, as it stands in the page's address.

const lists = ['agent', 'session', 'tool', 'action', 'run_id'];
const times = ['since', 'until'];

export class Filter {
  constructor(params = new URLSearchParams()) {
    this.lists = Object.fromEntries(lists.map((name) => [name, params.getAll(name).filter(Boolean)]));
    this.text = params.get('text') ?? '';
    for (const name of times) this[name] = isNaN(Date.parse(params.get(name))) ? '' : params.get(name);
    const text = this.text.toLowerCase();
    // In a line of the log quotes and the like are escaped.
    this.needles = text === '' ? [] : [...new Set([text, JSON.stringify(text).slice(1, -1)])];
    this.from = Date.parse(this.since) || -Infinity;
    this.to = Date.parse(this.until) || Infinity;
  }

  // write puts the filter into params, an address's.
  write(params) {
    for (const name of lists) for (const value of this.lists[name]) params.append(name, value);
    for (const name of ['text', ...times]) if (this[name] !== '') params.set(name, this[name]);
  }

  // query is what the server can do of it: all but the text.
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

// words are the values of a field in which several are separated by spaces; one
// that has spaces or quotes itself is written as in JSON.
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
    return word; // as it is typed, not whole yet
  }
}
