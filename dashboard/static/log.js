// The log as far as this page has it: the newest events, each hashed again and
// held against the one before, however it came here.

import { Bounded, mostRows } from './bounded.js';
import { check, eventOf, member, split, zeros } from './chain.js';
import { cut, summary } from './text.js';
import { Witness } from './witness.js';

const pageText = 4 << 20; // what we like an answer to have

// Log announces each new row ("row"), that it begins anew ("reset"), and that
// something about it has changed ("change").
export class Log extends EventTarget {
  head = null; // the newest event that was taken in: {id, hash}
  checked = 0; // events in a row up to the head, each of which was recomputed
  since = null; // the timestamp of the first of them
  pending = 0; // messages that are not taken in yet
  witness = new Witness();
  #events = 0; // on the server, about
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

  // receive takes in an event from the stream.
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

  // sync brings the log up to what the server has.
  sync() {
    return this.#inTurn(() => this.#sync());
  }

  // idle is when all that was received so far is taken in.
  idle() {
    return this.#inTurn(() => {});
  }

  // page is some events of the log, each checked by itself, in the order asked for.
  async page(params, signal) {
    const response = await this.api.fetch('audit/events', { params: { limit: this.#limit, ...params }, signal });
    const { lines: texts, rest } = split(await response.text());
    const lines = await Promise.all(texts.map(check));
    const size = lines.reduce((sum, c) => sum + c.line.length, 0) / lines.length || 1;
    this.#limit = Math.max(1, Math.min(500, Math.floor(pageText / size)));
    for (const c of lines) this.#wantHash(c);
    return { lines, cursor: rest.next_cursor };
  }

  // event is one of the log, checked by itself.
  async event(id) {
    const response = await this.api.fetch(`audit/events/${encodeURIComponent(id)}`);
    const c = await check((await response.text()).trimEnd());
    this.#wantHash(c);
    return c;
  }

  // wantLinks marks those rows, which are oldest first, that do not follow the one
  // before them, and raises the alarm.
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

  // begin takes the newest events, and leaves what is before them to scrolling.
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

  // look finds out whether an event that was seen is still there, was pruned, or
  // is gone, and raises the alarm if it is.
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
    this.witness.alarm(seen.id, 'this event, which this page had seen, is not on the log: it was cut, or is another one');
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
    if (this.head === null) return; // what sync will begin with has it
    if (!sound) {
      this.#wantHash(c);
    } else if (c.event.id <= this.head.id) {
      return; // seen, before another tab took over the stream
    } else if (c.event.prev_hash === this.head.hash) {
      this.#events++;
      this.#add(c);
      return;
    }
    // Something is missing between it and our head, or it was changed on its
    // way: the log is the authority.
    for (let wait = 1000; ; wait = Math.min(2 * wait, 10_000)) {
      try {
        return await this.#catchUp();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  #add(c) {
    if (c.event === null) return; // the alarm is raised
    this.dispatchEvent(new CustomEvent('row', { detail: this.#link(c) }));
  }

  // link makes an event the head.
  #link(c) {
    const row = rowOf(c);
    const { id } = row;
    if (this.head !== null) {
      row.broken ||= !this.#follows(row, this.head.hash);
      if (id <= this.head.id) this.witness.alarm(id, `this event's id is not greater than ${this.head.id}, which is the one before`);
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
    if (c.event === null) this.witness.alarm('', `a line has not the form of an event: ${c.line.slice(0, 200)}`);
    else if (c.fits === false) this.witness.alarm(c.event.id, `the hash of this event is ${c.computed}, and it says ${c.hash || 'none'}: it was changed`);
  }

  #follows({ id, prev }, hash) {
    if (prev !== hash) this.witness.alarm(id, `the link of this event to the one before does not fit: that one's hash is ${hash}, and it says ${prev}`);
    return prev === hash;
  }
}

// rowOf is what the page keeps of an event.
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

// answer is what became of an approval. The queue alone writes that member; a
// request that looks the same is an agent's claim, and shown as one.
function answer({ id, status, resolved_by: by, reason }) {
  return `${id} ${status}${by ? ` by ${by}` : ''}${reason ? `: ${reason}` : ''}`;
}
