// The live stream, one for all tabs of the browser: browsers open no more than
// six connections to a server. Who holds the lock has the stream and tells the
// others; when its tab is closed the next one takes over from its own position.

import { base } from './api.js';
import { position } from './chain.js';

const name = `rampart stream ${base}`;
const shortest = 500; // ms until the first try again
const longest = 15_000;
const silence = 30_000; // after it we ask whether there was nothing to hear

export class Stream extends EventTarget {
  state = 'connecting'; // then catching-up, live, reconnecting or refused
  detail = '';
  role = 'follower';
  #channel = new BroadcastChannel(name);
  #wake = () => {};
  #heard = 0;
  #others = false; // tabs that want to be told; telling is not cheap
  #alone = false; // as a follower, without a word from the tab that has the stream

  // log has sync, which brings it up to date, idle, and head; see log.js.
  constructor(api, log) {
    super();
    this.api = api;
    this.log = log;
    this.#channel.addEventListener('message', ({ data }) => this.#hear(data));
    addEventListener('online', () => this.retry());
    document.addEventListener('visibilitychange', () => document.hidden || this.retry());
  }

  async start() {
    this.#tell({ kind: 'hello' });
    setInterval(() => this.#watchLeader(), silence / 2);
    // Without locks, as over http on an address that is not this machine, each tab has its own stream.
    if (navigator.locks) await navigator.locks.request(name, () => this.#lead());
    else await this.#lead();
  }

  // retry tries at once what would be tried later, and looks whether a
  // connection that seems open still is, as after a sleep.
  retry() {
    if (this.role === 'follower') {
      this.#tell({ kind: 'wake' });
      this.#watchLeader(0);
    }
    this.#wake();
  }

  #tell(message) {
    this.#channel.postMessage(message);
  }

  #hear(message) {
    if (this.role === 'leader') {
      if (message.kind === 'hello') {
        this.#others = true;
        this.#tell({ kind: 'state', state: this.state, detail: this.detail });
      }
      if (message.kind === 'wake') this.#wake();
    } else if (message.kind === 'message') {
      this.#heard = performance.now();
      if (this.#alone) this.#tell({ kind: 'hello' }); // it is awake, and what it was asked is lost
      this.#deliver(message.data);
    } else if (message.kind === 'state') {
      this.#alone = false;
      this.#set(message.state, message.detail);
    }
  }

  #deliver(data) {
    this.dispatchEvent(new CustomEvent('message', { detail: data }));
  }

  #become(state, detail = '') {
    this.#tell({ kind: 'state', state, detail });
    this.#set(state, detail);
  }

  #set(state, detail) {
    this.state = state;
    this.detail = detail;
    this.dispatchEvent(new Event('state'));
  }

  async #lead() {
    this.role = 'leader';
    this.#become('connecting');
    for (let failures = 0; ;) {
      let fault;
      try {
        await this.log.sync(); // so that what the stream repeats is little, however long we were away
        const { token } = await this.api.post('events/ticket');
        let opened = false;
        fault = await this.#listen(token, () => { opened = true; failures = 0; });
        // EventSource keeps the reason to itself; HEAD answers what GET does.
        if (!opened) await this.api.fetch('events/stream', { method: 'HEAD' });
      } catch (error) {
        fault = error;
      }
      const wait = Math.min(longest, shortest * 2 ** failures++) * (0.75 + Math.random() / 2);
      const state = fault.status > 0 ? 'refused' : 'reconnecting'; // 0: no answer at all
      this.#become(state, `${fault.message}; next try in ${Math.ceil(wait / 1000)} s`);
      await this.#sleep(wait);
    }
  }

  // listen hears one connection to its end and returns why it ended. A browser
  // would open it again by itself, but with a ticket that ends, and not at all
  // after some answers.
  #listen(ticket, connected) {
    const url = new URL('events/stream', base);
    url.search = new URLSearchParams({ token: ticket, last_event_id: position(this.log.head) });
    const source = new EventSource(url);
    return new Promise((resolve) => {
      let caughtUp = false;
      const end = (message) => {
        source.close();
        clearInterval(watch);
        resolve(new Error(message));
      };
      this.#countOthers();
      const watch = setInterval(async () => {
        this.#countOthers();
        if (!await this.#stillThere()) end('the connection had died');
      }, silence / 2);
      this.#wake = () => this.#stillThere(0).then((there) => there || end('the connection had died'));
      source.onerror = () => end('the stream ended');
      source.onmessage = async ({ data }) => {
        this.#heard = performance.now();
        if (data.startsWith('{"type":"connected"')) {
          connected();
          this.#become('catching-up');
        }
        if (this.#others) this.#tell({ kind: 'message', data });
        this.#deliver(data);
        // What was missed has come before the first of these.
        if (!caughtUp && data === '{"type":"approvals"}') {
          caughtUp = true;
          await this.log.idle();
          if (source.readyState === EventSource.OPEN) this.#become('live');
        }
      };
    });
  }

  // watchLeader looks whether the tab that has the stream still tells what comes:
  // browsers freeze tabs, and leave them their locks. Until it does again, this
  // one asks by itself.
  async #watchLeader(limit) {
    const following = () => this.role === 'follower' && (this.state === 'live' || this.#alone);
    if (!following() || this.log.head === null || await this.#stillThere(limit) || !following()) return;
    this.#alone = true;
    this.#set('reconnecting', `the tab that has the stream is asleep; this one asks every ${silence / 2000} s`);
    this.#tell({ kind: 'hello' }); // it answers when it wakes up
    this.#deliver('{"type":"connected"}');
  }

  // countOthers finds out whether other tabs listen: those that wait for the lock.
  async #countOthers() {
    this.#others = (await navigator.locks?.query())?.pending.some((l) => l.name === name) ?? false;
  }

  // stillThere finds out whether a silent connection is dead: keepalives do not
  // reach the page. It is when the log has gone on without us.
  async #stillThere(limit = silence) {
    if (performance.now() - this.#heard < limit) return true;
    const before = this.#heard;
    try {
      const { head } = await this.api.get('status');
      if (head.id === '' || head.id <= this.log.head.id || this.#heard !== before) return true;
      await new Promise((resolve) => setTimeout(resolve, 2000)); // what is on its way may arrive
      return this.#heard !== before;
    } catch {
      return false;
    }
  }

  #sleep(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
