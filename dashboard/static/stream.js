// The live stream. All tabs of the browser share one, since a browser opens no
// more than six connections to a server. The tab that holds the lock leads: it has
// the stream and passes messages on to the others, its followers. When it is closed,
// the next tab takes over from its own position.

import { base } from './api.js';
import { position } from './chain.js';

const name = `rampart stream ${base}`;
const shortest = 500; // ms until the first retry
const longest = 15_000; // ms
const silence = 30_000; // ms without a message until we ask the server whether we missed any

export class Stream extends EventTarget {
  state = 'connecting'; // then catching-up, live, reconnecting or refused
  detail = '';
  role = 'follower';
  #channel = new BroadcastChannel(name);
  #wake = () => {};
  #heard = 0;
  #others = false; // whether other tabs follow; passing messages on is not cheap
  #alone = false; // whether this follower hears nothing from the leader

  // log is a Log; see log.js.
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
    // A browser has no locks for pages over http from another machine: then each tab has its own stream.
    if (navigator.locks) await navigator.locks.request(name, () => this.#lead());
    else await this.#lead();
  }

  // retry makes the next attempt now. If a connection seems open, as it may after
  // the machine slept, retry checks that it still works.
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
      if (this.#alone) this.#tell({ kind: 'hello' }); // the leader is awake again, and may have missed our hello
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
        await this.log.sync(); // so that the stream has little to replay, however long we were away
        const { token } = await this.api.post('events/ticket');
        let opened = false;
        fault = await this.#listen(token, () => { opened = true; failures = 0; });
        // EventSource does not tell why it failed; HEAD gets the same status as GET.
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

  // listen reads one connection to its end and returns why it ended. EventSource
  // would reconnect by itself, but with a ticket that expires, and after some
  // answers not at all.
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
        if (!await this.#stillThere()) end('the connection was lost');
      }, silence / 2);
      this.#wake = () => this.#stillThere(0).then((there) => there || end('the connection was lost'));
      source.onerror = () => end('the stream ended');
      source.onmessage = async ({ data }) => {
        this.#heard = performance.now();
        if (data.startsWith('{"type":"connected"')) {
          connected();
          this.#become('catching-up');
        }
        if (this.#others) this.#tell({ kind: 'message', data });
        this.#deliver(data);
        // The first approvals message follows all events that were missed.
        if (!caughtUp && data === '{"type":"approvals"}') {
          caughtUp = true;
          await this.log.idle();
          if (source.readyState === EventSource.OPEN) this.#become('live');
        }
      };
    });
  }

  // watchLeader checks that the leader still passes messages on: a browser may
  // freeze a tab, which keeps its lock. Until the leader wakes up, this tab asks the
  // server itself.
  async #watchLeader(limit) {
    const following = () => this.role === 'follower' && (this.state === 'live' || this.#alone);
    if (!following() || this.log.head === null || await this.#stillThere(limit) || !following()) return;
    this.#alone = true;
    this.#set('reconnecting', `the tab that has the stream is asleep; this tab asks the server every ${silence / 2000} s`);
    this.#tell({ kind: 'hello' }); // the leader answers when it wakes up
    this.#deliver('{"type":"connected"}');
  }

  // countOthers finds out whether other tabs follow: they wait for the lock.
  async #countOthers() {
    this.#others = (await navigator.locks?.query())?.pending.some((l) => l.name === name) ?? false;
  }

  // stillThere reports whether a silent connection still works. Keepalives do not
  // reach the page, so it asks for the log's head: the connection is dead if the log
  // has newer events than we have.
  async #stillThere(limit = silence) {
    if (performance.now() - this.#heard < limit) return true;
    const before = this.#heard;
    try {
      const { head } = await this.api.get('status');
      if (head.id === '' || head.id <= this.log.head.id || this.#heard !== before) return true;
      await new Promise((resolve) => setTimeout(resolve, 2000)); // messages on their way may still arrive
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
