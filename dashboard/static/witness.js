// What this browser remembers of the log, so that a log that was cut or written
// anew is noticed: the newest event seen, and what did not fit.

import { base } from './api.js';

const positionKey = `rampart position ${base}`;
const alarmsKey = `rampart alarms ${base}`;
const mostAlarms = 50;

export class Witness extends EventTarget {
  constructor() {
    super();
    addEventListener('storage', ({ key }) => {
      if (key === alarmsKey) this.dispatchEvent(new Event('alarms'));
    });
  }

  // last is the newest event that was seen, as {id, hash, at}, or null.
  get last() {
    return read(positionKey);
  }

  // saw remembers head, unless another tab has seen more.
  saw(head) {
    if ((this.last?.id ?? '') < head.id) write(positionKey, { id: head.id, hash: head.hash, at: new Date().toISOString() });
  }

  // forget forgets the position: what it was on is gone, and the alarm kept.
  forget() {
    write(positionKey, null);
  }

  get alarms() {
    return read(alarmsKey) ?? [];
  }

  // alarm keeps what does not fit until a person has seen it; the same only once.
  alarm(id, text) {
    const known = this.alarms;
    if (known.some((a) => a.id === id && a.text === text)) return;
    this.#store([...known, { id, text, at: new Date().toISOString() }].slice(0, mostAlarms));
  }

  dismiss(alarm) {
    this.#store(this.alarms.filter((a) => a.id !== alarm.id || a.text !== alarm.text));
  }

  #store(alarms) {
    write(alarmsKey, alarms);
    this.dispatchEvent(new Event('alarms'));
  }
}

// Where the browser keeps nothing for pages, memory does until the reload.
const memory = new Map();

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return memory.get(key) ?? null;
  }
}

function write(key, value) {
  memory.set(key, value);
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Full, or not allowed: memory has it.
  }
}
