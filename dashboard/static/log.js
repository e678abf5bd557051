// The part of the log that this page has: the newest events. Each is hashed again,
// and its link to the event before is checked, however it came here.

import { Bounded, mostRows } from './bounded.js';
import { check, eventOf, member, split, zeros } from './chain.js';
import { cut, summary } from './text.js';
import { Witness } from './witness.js';

const pageText = 4 << 20; // characters; the size of answer that we aim for

// Log dispatches "row" for each new row, "reset" when it begins again with other
// rows, and "change" when its figures have changed.
export class Log extends EventTarget {
  head = null; // the newest event that was processed: {id, hash}
  checked = 0; // events in a row up to the head whose hashes were recomputed
  since = null; // the timestamp of the first of them
  pending = 0; // messages that are not processed yet
  witness = new Witness();
  #events = 0; // number of events on the server, roughly
  #rows = new Bounded();
  #limit = 100;
  #turn = Promise.resolve();
  #saving = 0;

  constructor(api) {
    super();
    this.api = api;
    addEventListener('pagehide', () => this.#remember());
  }

  // rows are the newest events, oldest first, without a gap.
  get rows() {
    return this.#rows.rows;
  }

  // receive processes an event from the stream.
  receive(message) {
    const checked = check(eventOf(message));
    this.pending++;
    this.#inTurn(async () => {
      try {
        await this.#take(await checked);
      } finally {
        this.pending--;
      }
    });
  }

  // sync fetches the events that the server has and this page does not.
  sync() {
    return this.#inTurn(() => this.#sync());
  }

  // idle resolves when all messages received so far are processed.
  idle() {
    return this.#inTurn(() => {});
  }

  // page fetches a page of events in the order asked for. It checks each event's hash.
  async page(params, signal) {
    const response = await this.api.fetch('audit/events', { params: { limit: this.#limit, ...params }, signal });
    const { lines: texts, rest } = split(await response.text());
    const lines = await Promise.all(texts.map(check));
    const size = lines.reduce((sum, c) => sum + c.line.length, 0) / lines.length || 1;
    this.#limit = Math.max(1, Math.min(500, Math.floor(pageText / size)));
    for (const c of lines) this.#wantHash(c);
    return { lines, cursor: rest.next_cursor };
  }

  // event fetches one event and checks its hash.
  async event(id) {
    const response = await this.api.fetch(`audit/events/${encodeURIComponent(id)}`);
    const c = await check((await response.text()).trimEnd());
    this.#wantHash(c);
    return c;
  }

  // wantLinks checks rows, oldest first. It marks each row that does not link to the
  // row before, and raises an alarm.
  wantLinks(rows) {
    for (let i = 1; i < rows.length; i++) rows[i].broken ||= !this.#follows(rows[i], rows[i - 1].hash);
  }

  #inTurn(task) {
    const done = this.#turn.then(task);
    this.#turn = done.catch(() => {});
    return done;
  }

  async #sync() {
    const status = await this.api.get('status');
    const behind = status.events - this.#events;
    const began = this.head !== null;
    const seen = this.head ?? this.witness.last;
    const found = seen === null || seen.id === '' ? 'there' : await this.#look(seen);
    if (found === 'gone') this.witness.forget();
    if (!began || found !== 'there' || behind > mostRows) await this.#begin();
    else await this.#catchUp();
    this.#events = status.events;
    this.dispatchEvent(new Event('change'));
  }

  // begin starts again with the newest events. Older ones are fetched by scrolling.
  async #begin() {
    const { lines } = await this.page({});
    this.#rows = new Bounded();
    this.checked = 0;
    this.since = null;
    this.head = null;
    for (const c of lines.reverse()) if (c.event !== null) this.#link(c);
    this.head ??= { id: '', hash: zeros };
    this.dispatchEvent(new Event('reset'));
  }

  // look finds out whether an event that this page has seen is still there, was
  // pruned, or is gone. If it is gone, look raises an alarm.
  async #look(seen) {
    try {
      const c = await this.event(seen.id);
      if (c.hash === seen.hash) return 'there';
      this.witness.alarm(seen.id, `the hash of this event was ${seen.hash} when this page saw it, and is ${c.hash || 'none'}: the log was written anew`);
      return 'gone';
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    const { id, hash } = seen;
    const report = await (await this.api.fetch('audit/verify', { params: { id, hash }, patient: true })).json();
    if (report.ok || report.verdict === 'pruned') return 'pruned';
    this.witness.alarm(seen.id, 'this page has seen this event, but it is not on the log: the log was cut, or is another one');
    return 'gone';
  }

  async #catchUp() {
    for (let cursor = this.head.id; ;) {
      const page = await this.page({ after: this.head.id, cursor, order: 'asc' });
      for (const c of page.lines) this.#add(c);
      this.#events += page.lines.length;
      if (page.cursor === '') return;
      cursor = page.cursor;
    }
  }

  async #take(c) {
    const sound = c.event !== null && c.fits !== false;
    if (this.head === null) return; // the first sync will fetch it
    if (!sound) {
      this.#wantHash(c);
    } else if (c.event.id <= this.head.id) {
      return; // already processed, before another tab took over the stream
    } else if (c.event.prev_hash === this.head.hash) {
      this.#events++;
      this.#add(c);
      return;
    }
    // Events between our head and this one are missing, or it was changed on its way.
    // Fetch them from the log, which is the authority.
    for (let wait = 1000; ; wait = Math.min(2 * wait, 10_000)) {
      try {
        return await this.#catchUp();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  #add(c) {
    if (c.event === null) return; // page has raised the alarm
    this.dispatchEvent(new CustomEvent('row', { detail: this.#link(c) }));
  }

  // link makes an event the head.
  #link(c) {
    const row = rowOf(c);
    const { id } = row;
    if (this.head !== null) {
      row.broken ||= !this.#follows(row, this.head.hash);
      if (id <= this.head.id) this.witness.alarm(id, `this event's id is not greater than ${this.head.id}, the id of the event before`);
    }
    this.head = { id, hash: c.hash };
    this.checked++;
    this.since ??= row.timestamp;
    this.#rows.addNewest(row);
    this.#saving ||= setTimeout(() => this.#remember(), 1000);
    return row;
  }

  #remember() {
    clearTimeout(this.#saving);
    this.#saving = 0;
    if (this.head) this.witness.saw(this.head);
    this.dispatchEvent(new Event('change'));
  }

  #wantHash(c) {
    if (c.event === null) this.witness.alarm('', `a line does not have the form of an event: ${c.line.slice(0, 200)}`);
    else if (c.fits === false) this.witness.alarm(c.event.id, `the hash of this event is ${c.computed}, but it states ${c.hash || 'none'}: the event was changed`);
  }

  #follows({ id, prev }, hash) {
    if (prev !== hash) this.witness.alarm(id, `this event does not link to the one before, whose hash is ${hash}: it states ${prev}`);
    return prev === hash;
  }
}

// rowOf returns what the page keeps of an event.
export function rowOf({ line, event, hash, fits }) {
  return {
    id: event.id,
    timestamp: event.timestamp,
    agent: event.agent,
    session: event.session,
    run_id: event.run_id ?? '',
    tool: event.tool,
    action: event.decision.action,
    policies: event.decision.matched_policies,
    took: event.decision.evaluation_time_us,
    summary: cut(event.approval?.id ? answer(event.approval) : summary(event.request, () => member(line, 'request')), 500),
    prev: event.prev_hash,
    hash,
    fits,
    broken: fits === false,
    line,
  };
}

// answer describes how an approval was answered. It reads the approval member, which
// only the queue writes: an agent could put the same text into a request.
function answer({ id, status, resolved_by: by, reason }) {
  return `${id} ${status}${by ? ` by ${by}` : ''}${reason ? `: ${reason}` : ''}`;
}
