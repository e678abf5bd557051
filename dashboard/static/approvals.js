// The approvals view. A card stays in its place, whatever happens to its approval,
// so that no button moves under a person's hand.

import { Card } from './card.js';
import { canHash, member, sha256, split } from './chain.js';
import { byId, h, say } from './dom.js';
import { badge } from './decision.js';
import { to } from './address.js';
import { Group } from './group.js';
import { visible } from './text.js';
import { time } from './time.js';

const mostCards = 200; // waiting approvals with a card; the others follow as these are answered
const mostAnswered = 50;
const mostShift = 4; // pixels; so small a shift puts no button in another's place
const settling = 600; // ms after a move in which a click may be meant for what was there before

export class Approvals extends EventTarget {
  waiting = []; // the pending approvals, as the server lists them
  #cards = new Map(); // by id, in the order of the page
  #groups = new Map(); // by agent, session and run
  #again = false;
  #refreshing = null;
  #moved = -Infinity; // when something last moved
  #heights = new WeakMap(); // heights of elements that move what is below them
  #sizes = new ResizeObserver((changes) => {
    for (const { target, contentRect: { height } } of changes) {
      const before = this.#heights.get(target);
      // A height of 0 means that another view is shown; only the alarms really come and go.
      const seen = before > 0 && height > 0 || before !== undefined && target.id === 'alarms';
      if (seen && Math.abs(height - before) > mostShift) this.#moved = performance.now();
      this.#heights.set(target, height);
    }
  });

  constructor(api, name) {
    super();
    this.api = api;
    this.name = name; // the person's, for the record
    setInterval(() => this.#tick(), 1000);
    byId('clear-answered').addEventListener('click', () => this.#clear());
    this.#sizes.observe(byId('alarms'));
  }

  // refresh asks the server for the list again. Calls during a request share one
  // further request.
  refresh() {
    this.#again = true;
    return this.#refreshing ??= this.#refresh().finally(() => { this.#refreshing = null; });
  }

  // steady reports whether a click may count. A click of the mouse does not if
  // something has moved just before.
  steady(click) {
    return click.detail === 0 || performance.now() - this.#moved > settling;
  }

  // send sends an answer with the person's name.
  send(path, answer) {
    return this.api.post(path, this.name === '' ? answer : { ...answer, resolved_by: this.name });
  }

  // look fetches an approval and shows its state.
  async look(id) {
    const approval = await this.api.get(`approvals/${encodeURIComponent(id)}`);
    this.#cards.get(id)?.update(approval);
    return approval;
  }

  async #refresh() {
    while (this.#again) {
      this.#again = false;
      const began = performance.now();
      try {
        const approvals = await this.#pending();
        this.#show(approvals);
        await this.#settle(new Set(approvals.map((a) => a.id)));
        await this.#showAnswered();
        this.#say('');
        // A long list takes long: spend at most half of the time on asking for it.
        if (this.#again) await new Promise((resolve) => setTimeout(resolve, performance.now() - began));
      } catch (error) {
        this.#say(`The list is not up to date: ${error.message}.`);
        return; // the next connection asks again
      }
    }
  }

  // pending fetches the pending approvals, each with the bytes of its request.
  async #pending() {
    const { lines } = split(await (await this.api.fetch('approvals')).text());
    const known = new Map(this.waiting.map((a) => [a.id, a])); // a pending approval does not change
    return Promise.all(lines.map(async (line) => {
      const a = JSON.parse(line);
      if (known.has(a.id)) return known.get(a.id);
      const raw = member(line, 'request');
      return { ...a, raw, fits: !canHash || await sha256(raw) === a.request_sha256 };
    }));
  }

  #show(approvals) {
    const known = new Set(this.waiting.map((a) => a.id));
    const fresh = approvals.filter((a) => !known.has(a.id));
    this.waiting = approvals;
    for (const a of approvals.slice(0, mostCards)) if (!this.#cards.has(a.id)) this.#add(a);
    this.#say('');
    this.dispatchEvent(new CustomEvent('waiting', { detail: fresh }));
    if (fresh.length > 0) say(`${approvals.length} waiting for an answer`);
  }

  #add(approval) {
    const card = new Card(approval, this);
    const pending = byId('pending');
    this.#cards.set(approval.id, card);
    this.#sizes.observe(card.element);
    if (approval.run_id) {
      const key = JSON.stringify([approval.agent, approval.session, approval.run_id]);
      if (!this.#groups.has(key)) {
        this.#groups.set(key, new Group(approval, this));
        pending.append(this.#groups.get(key).element);
        this.#sizes.observe(this.#groups.get(key).element);
      } else {
        this.#moved = performance.now(); // a click may come before the ResizeObserver does, at the next frame
      }
      this.#groups.get(key).add(card);
    } else {
      pending.append(card.element);
    }
  }

  // settle finds out how the approvals that no longer wait have ended.
  async #settle(waiting) {
    for (const [id, card] of this.#cards) {
      if (card.status !== 'pending' || waiting.has(id)) continue;
      card.gone();
      if (!card.busy) {
        await this.look(id).catch((error) => {
          if (error.status === 404) card.gone('unknown');
          card.tell(`It no longer waits: ${error.message}.`);
        });
      }
    }
    this.#controls();
  }

  // showAnswered takes the newest answers from the log: the server's list of
  // answered approvals may be long.
  async #showAnswered() {
    if (byId('approvals').hidden) return;
    const { events } = await this.api.get('audit/events', { action: ['approved', 'denied', 'expired'], limit: mostAnswered });
    const answers = events.filter((e) => e.approval);
    byId('answered').replaceChildren(...answers.map(answered));
    byId('answered-title').hidden = answers.length === 0;
  }

  #tick() {
    const now = this.api.now();
    let late = false;
    for (const card of this.#cards.values()) late = card.tick(now) || late;
    if (late) this.refresh();
  }

  #clear() {
    for (const [id, card] of this.#cards) {
      if (card.status === 'pending') continue;
      card.element.remove();
      this.#cards.delete(id);
    }
    for (const [key, group] of this.#groups) if (group.prune()) this.#groups.delete(key);
    this.#moved = performance.now();
    this.refresh();
    this.#controls();
    byId('main').focus({ preventScroll: true });
  }

  // controls enables the buttons that apply now.
  #controls() {
    const cards = [...this.#cards.values()];
    byId('clear-answered').disabled = cards.every((c) => c.status === 'pending');
    for (const group of this.#groups.values()) group.update();
  }

  #say(fault) {
    const more = this.waiting.length - Math.min(this.waiting.length, mostCards);
    const words = fault || (this.waiting.length === 0 ? 'Nothing waits. Calls that need a person’s answer appear here, and the agent gets the answer at once.'
      : more > 0 ? `${more} more wait; they appear as you answer these.` : '');
    byId('approvals-state').textContent = words;
    this.#controls();
  }
}

function answered({ timestamp, agent, tool, approval: { id, status, resolved_by: by, reason } }) {
  return h('li', { 'data-id': id, 'data-status': status },
    time(timestamp), ' ', badge(status),
    by ? [' by ', h('b', {}, visible(by))] : null, ': ',
    h('a', { href: to('activity', { event: id }) }, visible(tool), ' of ', visible(agent)),
    reason ? [': ', h('bdi', {}, visible(reason))] : null);
}
