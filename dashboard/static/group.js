// The approvals of one run. A person reads each one and answers the selected ones
// together: all of them or none.

import { refused } from './card.js';
import { h } from './dom.js';
import { plain, visible } from './text.js';

export class Group {
  #cards = [];
  #parts = {};
  #busy = false;

  constructor({ agent, session, run_id: run }, approvals) {
    this.run = run;
    this.approvals = approvals;
    const p = this.#parts;
    const name = plain(run);
    p.count = h('span', { class: 'count' });
    p.list = h('div', { class: 'list' });
    p.all = h('input', { type: 'checkbox', class: 'select-all', onchange: () => this.#selectAll() });
    p.reason = h('input', { class: 'group-reason', 'aria-label': `Reason for the answers to run ${name}`, placeholder: 'Reason (optional)', maxlength: 1000, autocomplete: 'off' });
    p.approve = h('button', { type: 'button', class: 'approve-selected', onclick: (e) => this.#answer(e, 'approve') });
    p.deny = h('button', { type: 'button', class: 'deny-selected', onclick: (e) => this.#answer(e, 'deny') });
    p.outcome = h('p', { class: 'group-outcome', role: 'status' });
    p.bar = h('div', { class: 'bar', hidden: true }, h('label', {}, p.all, ' All shown'), p.reason, p.approve, p.deny);
    this.element = h('section', { class: 'run', 'data-run': run, 'aria-label': `Run ${name}` },
      h('h3', {}, 'Run ', visible(run), ' of ', visible(agent), session ? [' in ', visible(session)] : '', ' ', p.count),
      p.list, p.bar, p.outcome);
    this.element.addEventListener('selected', () => this.update());
  }

  add(card) {
    this.#cards.push(card);
    this.#parts.list.append(card.element);
  }

  get #pending() {
    return this.#cards.filter((c) => c.status === 'pending');
  }

  // prune drops the cards that are no longer on the page, and reports whether none
  // is left.
  prune() {
    this.#cards = this.#cards.filter((c) => c.element.isConnected);
    if (this.#cards.length === 0) this.element.remove();
    this.#parts.bar.hidden = true; // update shows it again if it is needed
    return this.#cards.length === 0;
  }

  update() {
    const pending = this.#pending;
    const many = pending.length > 1;
    const p = this.#parts;
    for (const card of this.#cards) card.selectable(many);
    const chosen = pending.filter((c) => c.selected);
    const selected = chosen.length;
    this.element.classList.toggle('group', many);
    p.count.textContent = many ? `(${pending.length} waiting)` : '';
    p.bar.hidden &&= !many; // once shown, it stays: hiding it would move the cards below
    p.all.checked = selected > 0 && selected === pending.length;
    p.all.indeterminate = selected > 0 && selected < pending.length;
    p.approve.textContent = `Approve ${selected} selected`;
    p.deny.textContent = `Deny ${selected} selected`;
    p.deny.disabled = selected === 0 || this.#busy;
    p.approve.disabled = p.deny.disabled || !chosen.every((c) => c.approvable);
  }

  #selectAll() {
    const yes = this.#parts.all.checked;
    for (const card of this.#pending) card.selected = yes;
    this.update();
  }

  async #answer(click, action) {
    const cards = this.#pending.filter((c) => c.selected);
    if (this.#busy || cards.length === 0) return;
    if (!this.approvals.steady(click)) {
      this.#parts.outcome.textContent = 'The list moved just before you clicked, so nothing was answered. Look again, then click.';
      return;
    }
    this.#busy = true;
    const reason = this.#parts.reason.value.trim();
    const sent = this.approvals.send('approvals/bulk-resolve', { run_id: this.run, action, ids: cards.map((c) => c.id), ...(reason && { reason }) });
    await Promise.all(cards.map((card) => card.answering(action === 'approve' ? 'approved' : 'denied', () => sent)));
    this.#busy = false;
    this.#parts.outcome.textContent = await sent.then(
      ({ resolved }) => `${resolved} answered.`,
      (error) => `${refused(error) ? 'None was answered' : 'It is not known whether they were answered'}: ${error.message}. Each card shows its state.`);
    this.update();
  }
}
