// Who looks at this page. The token is kept by the tab and ends with it; other
// tabs of this origin are given it, so that it is asked for once.

import { base } from './api.js';

const key = `rampart session ${base}`;
const reasonKey = `${key} ended`;
const wait = 300; // ms for another tab to answer

export class Session {
  #channel = new BroadcastChannel(key);

  constructor() {
    this.#channel.addEventListener('message', ({ data }) => {
      if (data.kind === 'who' && this.kept) this.#channel.postMessage({ kind: 'session', kept: this.kept });
      if (data.kind === 'end' && [undefined, this.kept?.token].includes(data.token)) this.#end(data.reason);
    });
  }

  get kept() {
    return JSON.parse(sessionStorage.getItem(key));
  }

  keep(kept) {
    sessionStorage.setItem(key, JSON.stringify(kept));
  }

  // find is the session of this tab, or of another one that is open, or null.
  async find() {
    return this.kept ?? await new Promise((resolve) => {
      const answer = ({ data }) => data.kind === 'session' && done(data.kept);
      const done = (kept) => {
        this.#channel.removeEventListener('message', answer);
        resolve(kept);
      };
      this.#channel.addEventListener('message', answer);
      this.#channel.postMessage({ kind: 'who' });
      setTimeout(done, wait, null);
    });
  }

  // signOut ends the session in all tabs. They load anew, so that nothing of what
  // was seen stays behind.
  signOut() {
    this.#channel.postMessage({ kind: 'end', reason: '' });
    this.#end('');
  }

  // refused ends it in those that have the same token: one that slept may have an
  // old one.
  refused(reason) {
    this.#channel.postMessage({ kind: 'end', reason, token: this.kept?.token ?? '' });
    this.#end(reason);
  }

  #end(reason) {
    sessionStorage.removeItem(key);
    sessionStorage.setItem(reasonKey, reason);
    location.reload();
  }

  // ended is why the last session ended; asked once, it is forgotten.
  ended() {
    const reason = sessionStorage.getItem(reasonKey) ?? '';
    sessionStorage.removeItem(reasonKey);
    return reason;
  }
}
