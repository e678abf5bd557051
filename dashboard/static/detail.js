// One event in full: its JSON, its hash, and its neighbours on the chain.

import { byId } from './dom.js';
import { rowOf } from './log.js';
import { parts } from './parts.js';
import { format } from './text.js';

export class Detail extends EventTarget {
  id = ''; // id of the event that is shown; empty if none is
  #row = null; // its row
  #older = '';
  #newer = '';

  constructor(log, rows) {
    super();
    this.log = log;
    this.rows = rows;
    const panel = byId('event');
    byId('event-close').addEventListener('click', () => this.#close());
    panel.addEventListener('keydown', (e) => e.key === 'Escape' && this.#close());
    rows.grid.addEventListener('keydown', (e) => e.key === 'Escape' && this.id !== '' && this.#close());
    byId('event-older').addEventListener('click', () => this.#move(this.#older));
    byId('event-newer').addEventListener('click', () => this.#move(this.#newer));
    // If the newest event is open, its neighbour may arrive at any time.
    log.addEventListener('row', ({ detail: { prev } }) => this.id !== '' && prev === this.#row?.hash && this.#neighbours(this.#row).catch(() => {}));
  }

  #close() {
    this.dispatchEvent(new Event('closed'));
    this.rows.grid.focus({ preventScroll: true });
  }

  #move(id) {
    if (id === '') return; // the neighbour is not known yet
    this.rows.activate(id);
    this.dispatchEvent(new CustomEvent('moved', { detail: id }));
  }

  // show shows an event, or none when id is empty.
  async show(id) {
    if (id === this.id) return;
    const panel = byId('event');
    const opened = this.id === '';
    this.id = id;
    panel.hidden = id === '';
    if (id === '') return;
    if (opened) panel.focus({ preventScroll: true });
    this.#older = this.#newer = '';
    byId('event-id').textContent = id;
    for (const part of ['hash', 'check', 'json', 'more']) byId(`event-${part}`).textContent = '';
    for (const which of ['older', 'newer']) byId(`event-${which}`).disabled = true;
    byId('event-check').textContent = 'Loading…';
    try {
      const row = this.#here(id) ?? await this.#fetch(id);
      if (this.id !== id) return;
      this.#row = row;
      byId('event-hash').textContent = row.hash;
      byId('event-more').replaceChildren(parts(byId('event-json'), format(row.line)) ?? '');
      await this.#neighbours(row);
    } catch (error) {
      if (this.id === id) byId('event-check').textContent = error.status === 404 ? 'There is no such event on the log.' : `Could not be loaded: ${error.message}.`;
    }
  }

  #here(id) {
    return this.rows.shown.find((row) => row.id === id) ?? this.log.rows.find((row) => row.id === id);
  }

  async #fetch(id) {
    const c = await this.log.event(id);
    if (c.event === null) throw new Error('it does not have the form of an event');
    return rowOf(c);
  }

  async #neighbours(row) {
    const [older, newer] = await Promise.all([
      this.log.page({ before: row.id, limit: 1 }),
      this.log.page({ after: row.id, order: 'asc', limit: 1 }),
    ]);
    if (this.id !== row.id) return;
    const [before, after] = [older.lines[0], newer.lines[0]];
    this.#older = before?.event?.id ?? '';
    this.#newer = after?.event?.id ?? '';
    for (const [which, neighbour] of [['older', this.#older], ['newer', this.#newer]]) {
      const button = byId(`event-${which}`);
      if (neighbour === '' && document.activeElement === button) byId('event').focus({ preventScroll: true });
      button.disabled = neighbour === '';
    }
    const hash = { true: 'The hash fits its bytes', false: 'THE HASH DOES NOT FIT its bytes', null: 'The hash cannot be recomputed here' }[row.fits];
    byId('event-check').textContent = `${hash}; ${link(before, row.prev, 'the event before')}; ${link({ hash: row.hash, event: {} }, after?.event?.prev_hash, 'the event after')}.`;
    const broken = row.fits === false || (before && before.hash !== row.prev) || (after && after.event?.prev_hash !== row.hash);
    byId('event-check').classList.toggle('broken', Boolean(broken));
  }
}

function link(target, prev, name) {
  if (!target || prev === undefined) return `${name}: none`;
  return target.hash === prev ? `the link to ${name} fits` : `THE LINK TO ${name.toUpperCase()} DOES NOT FIT`;
}
