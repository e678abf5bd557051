// The page: it signs people in, switches views and connects the parts.

import { Activity } from './activity.js';
import * as address from './address.js';
import { Api, byHost } from './api.js';
import { Approvals } from './approvals.js';
import { byId, h, say } from './dom.js';
import { History } from './history.js';
import { Log } from './log.js';
import { Notifier } from './notify.js';
import { Proof } from './proof.js';
import { Session } from './session.js';
import { Stream } from './stream.js';
import { number, visible } from './text.js';
import { localFull } from './time.js';

const views = ['activity', 'approvals', 'history', 'proof'];
const wrongToken = 'That is not the admin token. Copy the whole line from the token file.';
const manyPending = 200; // with more unprocessed messages than this the page counts as behind

const session = new Session();
let page = null; // the Page while somebody is signed in

class Page {
  #raised = new Map(); // elements of the alarms that are shown

  constructor(kept) {
    this.api = new Api(kept.token);
    this.log = new Log(this.api);
    this.stream = new Stream(this.api, this.log);
    this.approvals = new Approvals(this.api, kept.name);
    this.notifier = new Notifier();
    this.views = {
      activity: new Activity(this.log),
      approvals: { show: () => this.approvals.refresh() },
      history: new History(this.log),
      proof: new Proof(this.log),
    };
    this.api.onRefused((reason) => session.refused(`You were signed out: ${reason}.`));
    this.stream.addEventListener('message', ({ detail }) => this.#hear(detail));
    this.stream.addEventListener('state', () => this.#connection());
    this.log.addEventListener('change', () => this.#connection());
    this.log.witness.addEventListener('alarms', () => this.#alarms());
    this.approvals.addEventListener('waiting', ({ detail: fresh }) => {
      this.notifier.count(this.approvals.waiting.length);
      this.notifier.tell(fresh, this.stream.role === 'leader');
    });
    this.#alarms();
    this.#connection();
    this.#sync();
    this.approvals.refresh(); // a tab that follows another tab's stream gets no "connected" message
    this.stream.start();
  }

  #hear(message) {
    if (message.startsWith('{"type":"audit",')) {
      this.log.receive(message);
      return;
    }
    const type = /^\{"type":"(\w+)"/.exec(message)?.[1];
    // The tab that holds the stream has synced before it opened the stream.
    const missed = type === 'connected' && this.stream.role === 'follower';
    if (type === 'audit_batch' || missed) this.#sync();
    if (type === 'approvals' || type === 'connected') this.approvals.refresh();
  }

  // sync tries until it succeeds. The tab that holds the stream opens it again,
  // which also shows the error; a follower has nobody else to try for it.
  #sync() {
    this.log.sync().catch(() => {
      if (this.stream.role === 'leader') this.stream.retry();
      else setTimeout(() => this.#sync(), 2000);
    });
  }

  #connection() {
    const { stream, log } = this;
    const behind = stream.state === 'live' && log.pending > manyPending;
    const state = behind ? 'catching-up' : stream.state;
    const words = {
      connecting: 'Connecting…',
      live: stream.role === 'leader' ? 'Live' : 'Live, through another tab',
      'catching-up': `Catching up${log.pending > 0 ? `: ${number(log.pending)} to go` : ''}`,
      reconnecting: `Reconnecting: ${stream.detail}`,
      refused: `Refused: ${stream.detail}`,
    }[state];
    const element = byId('connection');
    if (element.dataset.state !== state && state !== 'connecting') say(words);
    element.dataset.state = state;
    element.dataset.role = stream.role;
    if (element.firstElementChild.textContent !== words) element.firstElementChild.textContent = words;
    byId('retry').hidden = state !== 'reconnecting' && state !== 'refused';
    byId('retry').onclick = () => stream.retry();
  }

  #alarms() {
    const { witness } = this.log;
    const area = byId('alarms');
    const keys = new Set(witness.alarms.map((a) => a.id + a.text));
    for (const [key, element] of this.#raised) {
      if (keys.has(key)) continue;
      const focused = element.contains(document.activeElement);
      element.remove();
      this.#raised.delete(key);
      if (focused) (area.querySelector('button') ?? byId('main')).focus();
    }
    // Alarms on the page stay: a screen reader would read replaced ones again.
    for (const alarm of witness.alarms) {
      const key = alarm.id + alarm.text;
      if (this.#raised.has(key)) continue;
      this.#raised.set(key, h('div', { class: 'alarm' },
        h('p', {}, h('strong', {}, 'The log failed a check: '), alarm.id ? [h('a', { href: address.to('activity', { event: alarm.id }) }, alarm.id), ': '] : null,
          visible(alarm.text), h('span', { class: 'hint' }, ` (noticed ${localFull(alarm.at)})`)),
        h('button', { type: 'button', class: 'dismiss', onclick: () => witness.dismiss(alarm) }, 'I have seen it')));
      area.append(this.#raised.get(key));
    }
  }
}

function route() {
  if (page === null) return;
  const { view, params } = address.read();
  const name = views.includes(view) ? view : 'activity';
  for (const v of views) {
    byId(v).hidden = v !== name;
    const link = document.querySelector(`nav a[href="#${v}"]`);
    if (v === name) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  page.views[name].show(params);
}

function enter(kept) {
  session.keep(kept);
  page = new Page(kept);
  document.body.dataset.state = 'signed-in';
  route();
}

async function signIn(event) {
  event.preventDefault();
  const form = byId('sign-in');
  const kept = { token: form.elements.token.value.trim(), name: form.elements.name.value.trim() };
  const error = byId('sign-in-error');
  error.textContent = '';
  if (!/^[\x21-\x7e]+$/.test(kept.token)) { // a header can't carry it
    error.textContent = wrongToken;
    return;
  }
  try {
    await new Api(kept.token).get('status');
    form.elements.token.value = '';
    if (page === null) enter(kept); // Enter may have been pressed twice
  } catch (fault) {
    error.textContent = {
      0: 'The server does not answer. Check that it is running, and try again.',
      401: wrongToken,
      403: `The server refuses: ${fault.message}.`,
    }[fault.status] ?? fault.message;
    form.elements.token.select();
  }
}

addEventListener('hashchange', route);
// A page that the browser restores from memory has lost its stream.
addEventListener('pageshow', (e) => e.persisted && location.reload());
byId('sign-in').addEventListener('submit', signIn);
byId('sign-out').addEventListener('click', () => session.signOut());

const reason = session.ended();
if (byHost) {
  byId('sign-out').hidden = true;
  byId('outside').hidden = reason === '';
  byId('outside').firstElementChild.textContent = `${reason} Sign in again on the site that this page belongs to.`;
  byId('again').addEventListener('click', () => location.reload());
  if (reason === '') enter({ token: '', name: '' });
} else {
  byId('sign-in-error').textContent = reason;
  const kept = await session.find();
  if (kept) {
    enter(kept);
  } else {
    byId('sign-in').hidden = false; // a form sent without this script would put the token into the address
    byId('sign-in').elements.token.focus();
  }
}
