// The card of one approval: what exactly would run, which agent asks, how much time
// is left, and the answer.

import { h, say } from './dom.js';
import { parts } from './parts.js';
import { format, hiddenIn, manyHidden, number, plain, visible } from './text.js';
import { left, localFull, time } from './time.js';

export class Card {
  busy = false; // whether an answer is on its way
  #approval;
  #parts = {};
  #folded = 0; // texts that the person has not yet unfolded to their end

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
      unseen > 0 ? h('p', { class: 'warning' }, `Invisible characters: ${number(unseen)}${unseen === manyHidden ? ' or more' : ''}. Each is shown by its code where it stands.`) : null,
      a.fits ? null : h('p', { class: 'warning' }, 'This request is not the one whose SHA-256 was recorded: it was changed on its way or on the disk. You can only deny it.'),
      h('p', { class: 'hint sum' }, 'SHA-256 of the request ', h('code', {}, a.request_sha256)),
      h('div', { class: 'answer' }, p.reason, p.approve, p.deny),
      p.outcome);
  }

  // text fills pre. A text so long that it comes in parts can be approved only after
  // all parts were shown.
  #text(text, pre) {
    const lines = text.split('\n').length;
    const hint = lines > 8 || text.length > 500 ? h('p', { class: 'hint' }, `${number(text.length)} characters in ${number(lines)} lines; scroll if you do not see all of them.`) : null;
    const more = parts(pre, text, {
      note: ' You can approve once all are shown.',
      all: () => {
        this.#folded--;
        this.#enable(this.status === 'pending');
        this.element.dispatchEvent(new Event('selected', { bubbles: true }));
      },
    });
    if (more) this.#folded++;
    return [pre, hint, more];
  }

  // update shows the approval's new state.
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

  // gone disables the buttons: the approval no longer waits, and its end is not
  // known, or not yet.
  gone(status = this.status) {
    this.#approval.status = status;
    this.element.dataset.status = status;
    if (status !== 'pending') this.#parts.left.textContent = '';
    this.#enable(false);
  }

  tell(...words) {
    this.#parts.outcome.replaceChildren(...words.flat().filter(Boolean));
  }

  // tick counts down. Once the time has been over for 3 s it returns true, at one of
  // five ticks.
  tick(now) {
    if (this.status !== 'pending') return false;
    const ms = Date.parse(this.#approval.expires_at) - now;
    this.#parts.left.textContent = left(ms);
    this.#parts.left.classList.toggle('soon', ms < 60_000);
    return ms < -3000 && ms % 5000 > -1000;
  }

  // selectable shows or hides the checkbox for answering with a group.
  selectable(yes) {
    this.#parts.select.hidden = !yes || this.status !== 'pending';
    if (this.#parts.select.hidden) this.#parts.select.checked = false;
  }

  // approvable reports whether the person has seen the whole of an unchanged request.
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

  // answering locks the card, sends an answer once, and then shows the server's state
  // of the approval, whether the answer counted or not.
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
        // A browser may resend a request by itself: then the first answer counted and the second was refused.
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

// refused reports whether the server certainly did not take an answer. A proxy's
// 502, or no response at all, leaves that open.
export const refused = ({ status }) => status >= 400 && status < 500;

// shown returns the texts that a person must see before answering: a command as
// plain text, and the whole request if it has more.
function shown({ request, raw }) {
  if (typeof request.command !== 'string') return [{ text: format(raw) }];
  const command = { text: request.command };
  return Object.keys(request).length === 1 ? [command] : [command, { name: 'The whole request', text: format(raw) }];
}
