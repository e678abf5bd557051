// What this browser remembers of the log: the newest event seen, so that it notices
// a log that was cut or rewritten, and the alarms.

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

  // last is the newest event seen, as {id, hash, at}, or null.
  get last() {
    return read(positionKey);
  }

  // saw remembers head, unless another tab has seen a newer event.
  saw(head) {
    if ((this.last?.id ?? '') < head.id) write(positionKey, { id: head.id, hash: head.hash, at: new Date().toISOString() });
  }

  // forget drops the newest event seen, once it is gone from the log and an alarm says so.
  forget() {
    write(positionKey, null);
  }

  get alarms() {
    return read(alarmsKey) ?? [];
  }

  // alarm keeps an alarm until a person dismisses it. The same alarm is kept only once.
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

// memory stands in, until the reload, where the browser allows no storage.
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
    // Storage is full or not allowed.
  }
}
