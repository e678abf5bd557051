// One approval: what exactly would run, who asks, how long is left, the answer.

import { h, say } from './dom.js';
import { parts } from './parts.js';
import { format, hiddenIn, manyHidden, number, plain, visible } from './text.js';
import { left, localFull, time } from './time.js';

export class Card {
  busy = false; // an answer is on its way
  #approval;
  #parts = {};
  #folded = 0; // texts of which not all was shown

  constructor(approval, approvals) {
    this.#approval = approval;
    this.approvals = approvals;
    this.element = this.#build(approval);
    this.tick(approvals.api.now());
    this.#enable(true);
  }

  get id() {
    return this.#approval.id;
  }

  get status() {
    return this.#approval.status;
  }

  #build(a) {
    const p = this.#parts;
    const what = shown(a);
    const unseen = hiddenIn(what.map((w) => w.text).join(''));
    const name = `${plain(a.tool)} by ${plain(a.agent)}`;
    p.left = h('span', { class: 'left', role: 'timer' });
    p.reason = h('input', { class: 'reason', 'aria-label': `Reason for the answer to ${name}`, placeholder: 'Reason (optional)', maxlength: 1000, autocomplete: 'off' });
    p.approve = h('button', { type: 'button', class: 'approve', 'aria-label': `Approve ${name}`, onclick: (e) => this.#answer(e, true) }, 'Approve');
    p.deny = h('button', { type: 'button', class: 'deny', 'aria-label': `Deny ${name}`, onclick: (e) => this.#answer(e, false) }, 'Deny');
    p.select = h('input', { type: 'checkbox', class: 'select', 'aria-label': `Select ${name}`, hidden: true, onchange: () => this.element.dispatchEvent(new Event('selected', { bubbles: true })) });
    p.outcome = h('p', { class: 'outcome' });
    return h('article', { class: 'approval', 'data-id': a.id, 'data-status': a.status, 'aria-label': name },
      h('header', {}, p.select,
        h('span', { class: 'tool' }, visible(a.tool)), ' ',
        h('span', { class: 'agent' }, visible(a.agent)), ' ',
        h('span', { class: 'session' }, visible(a.session)), ' ',
        h('span', { class: 'asked' }, 'asked ', time(a.created_at)), ' ', p.left),
      a.message ? h('p', { class: 'message' }, h('bdi', {}, visible(a.message))) : null,
      what.map(({ name, text }) => [
        name ? h('p', { class: 'hint' }, name) : null,
        this.#text(text, h('pre', { class: name ? 'request rest' : 'request', tabindex: 0, 'aria-label': name || 'What would run' })),
      ]),
      unseen > 0 ? h('p', { class: 'warning' }, `Characters here that would not be seen: ${number(unseen)}${unseen === manyHidden ? ' or more' : ''}. Each is named where it stands.`) : null,
      a.fits ? null : h('p', { class: 'warning' }, 'The request that came is not the one that its SHA-256 is of: it was changed on its way or on the disk. It can be denied only.'),
      h('p', { class: 'hint sum' }, 'SHA-256 of the request ', h('code', {}, a.request_sha256)),
      h('div', { class: 'answer' }, p.reason, p.approve, p.deny),
      p.outcome);
  }

  // text fills pre. What is so long that it comes in parts can be approved once
  // all of them were shown.
  #text(text, pre) {
    const lines = text.split('\n').length;
    const hint = lines > 8 || text.length > 500 ? h('p', { class: 'hint' }, `${number(text.length)} characters in ${number(lines)} lines; scroll if you do not see all of them.`) : null;
    const more = parts(pre, text, {
      note: ' It can be approved when all were shown.',
      all: () => {
        this.#folded--;
        this.#enable(this.status === 'pending');
        this.element.dispatchEvent(new Event('selected', { bubbles: true }));
      },
    });
    if (more) this.#folded++;
    return [pre, hint, more];
  }

  // update shows how the approval stands.
  update(approval) {
    if (approval.status !== this.status) say(`${plain(approval.tool)} by ${plain(approval.agent)}: ${approval.status}`);
    this.#approval = { ...this.#approval, ...approval };
    this.element.dataset.status = approval.status;
    this.#enable(approval.status === 'pending');
    this.element.dispatchEvent(new Event('selected', { bubbles: true }));
    if (approval.status === 'pending') return;
    this.#parts.left.textContent = '';
    const who = approval.resolved_by ? [' by ', h('b', {}, visible(approval.resolved_by))] : '';
    this.tell(h('span', { class: `action ${approval.status}` }, approval.status), who, ` at ${localFull(approval.resolved_at ?? approval.expires_at)}`,
      approval.reason ? [': ', h('bdi', {}, visible(approval.reason))] : '',
      approval.status === 'expired' ? '. Nobody answered in time.' : '');
  }

  // gone takes the buttons away: it is not known yet what became of it, or the
  // server knows nothing of it any more.
  gone(status = this.status) {
    this.#approval.status = status;
    this.element.dataset.status = status;
    if (status !== 'pending') this.#parts.left.textContent = '';
    this.#enable(false);
  }

  tell(...words) {
    this.#parts.outcome.replaceChildren(...words.flat().filter(Boolean));
  }

  // tick counts down, and reports whether the time has been over for a while.
  tick(now) {
    if (this.status !== 'pending') return false;
    const ms = Date.parse(this.#approval.expires_at) - now;
    this.#parts.left.textContent = left(ms);
    this.#parts.left.classList.toggle('soon', ms < 60_000);
    return ms < -3000 && ms % 5000 > -1000; // and not at each tick
  }

  // selectable shows or hides the box with which a group is answered.
  selectable(yes) {
    this.#parts.select.hidden = !yes || this.status !== 'pending';
    if (this.#parts.select.hidden) this.#parts.select.checked = false;
  }

  // approvable reports whether a yes would be to what the person saw.
  get approvable() {
    return this.#approval.fits && this.#folded === 0;
  }

  get selected() {
    return this.#parts.select.checked;
  }

  set selected(yes) {
    this.#parts.select.checked = yes && !this.#parts.select.hidden && this.status === 'pending';
  }

  #enable(yes) {
    for (const part of ['approve', 'deny', 'reason']) this.#parts[part].disabled = !yes || this.busy;
    this.#parts.approve.disabled ||= !this.approvable;
  }

  async #answer(click, approved) {
    if (this.busy || this.status !== 'pending') return;
    if (!this.approvals.steady(click)) {
      this.tell('The list moved just before you clicked, so nothing was answered. Look again, then click.');
      return;
    }
    await this.answering(approved ? 'approved' : 'denied', async () => {
      const reason = this.#parts.reason.value.trim();
      await this.approvals.send(`approvals/${encodeURIComponent(this.id)}/resolve`, { approved, ...(reason && { reason }) });
    });
  }

  // answering sends an answer once, with the card locked, and then shows what
  // the server has, whatever came of it.
  async answering(wanted, send) {
    this.busy = true;
    this.element.toggleAttribute('data-busy', true);
    this.#enable(false);
    this.tell('Sending the answer…');
    let fault = null;
    try {
      await send();
    } catch (error) {
      fault = error;
    }
    try {
      await this.#standing(fault, wanted);
    } finally {
      this.busy = false;
      this.element.toggleAttribute('data-busy', false);
      this.#enable(this.status === 'pending');
      this.approvals.refresh();
    }
  }

  async #standing(fault, wanted) {
    for (let wait = 500; ; wait = Math.min(2 * wait, 8000)) {
      try {
        const { status } = await this.approvals.look(this.id);
        if (status === 'pending') this.tell(fault ? `${refused(fault) ? 'Not answered' : 'It is not known whether your answer will count'}: ${fault.message}. It still waits.` : '');
        // A browser may have sent it twice by itself: then it was refused, and had counted.
        else if (fault && refused(fault) && status !== wanted) this.#parts.outcome.prepend('Your answer did not count; it was already ');
        return;
      } catch (error) {
        if (error.status > 0 && error.status < 500) {
          this.tell(error.message);
          return;
        }
        this.tell('The server does not answer, so it is not known whether this counted. Asking until it does…');
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }
}

// refused reports whether an answer surely did not count: a proxy's 502, or no
// answer at all, says nothing about what the server did.
export const refused = ({ status }) => status >= 400 && status < 500;

// shown is what a person has to see of a request: a command as text, and what
// else there is as it stands on the log.
function shown({ request, raw }) {
  if (typeof request.command !== 'string') return [{ text: format(raw) }];
  const command = { text: request.command };
  return Object.keys(request).length === 1 ? [command] : [command, { name: 'The whole request', text: format(raw) }];
}
