// The session of the person who is signed in. Each tab keeps the token until it is
// closed, and gives it to other tabs of this origin, so that people type it once.

import { base } from './api.js';

const key = `rampart session ${base}`;
const reasonKey = `${key} ended`;
const wait = 300; // ms in which another tab must answer

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

  // find returns the session of this tab or of another open one, or null.
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

  // signOut ends the session in all tabs. They reload, so that nothing that was
  // shown stays in them.
  signOut() {
    this.#channel.postMessage({ kind: 'end', reason: '' });
    this.#end('');
  }

  // refused ends the session in the tabs that have this tab's token: others may have
  // a newer one.
  refused(reason) {
    this.#channel.postMessage({ kind: 'end', reason, token: this.kept?.token ?? '' });
    this.#end(reason);
  }

  #end(reason) {
    sessionStorage.removeItem(key);
    sessionStorage.setItem(reasonKey, reason);
    location.reload();
  }

  // ended returns why the last session ended, and forgets it.
  ended() {
    const reason = sessionStorage.getItem(reasonKey) ?? '';
    sessionStorage.removeItem(reasonKey);
    return reason;
  }
}
