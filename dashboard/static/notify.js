// Signs for a person who looks elsewhere: the number in the tab's title, and
// browser notifications if the person has allowed them.

import { byId } from './dom.js';
import { cut, plain, plural, summary } from './text.js';

const possible = 'Notification' in globalThis && globalThis.isSecureContext;
const mostAtOnce = 3;

export class Notifier {
  #first = true;

  constructor() {
    byId('notify').onclick = async () => {
      await Notification.requestPermission();
      this.#offer();
    };
    this.#offer();
    this.count(0);
  }

  #offer() {
    byId('notify').hidden = !possible || Notification.permission !== 'default';
  }

  count(n) {
    document.title = n > 0 ? `(${n}) Rampart` : 'Rampart';
    byId('waiting').textContent = n > 0 ? n : '';
    byId('waiting').setAttribute('aria-label', n > 0 ? `${n} waiting` : '');
  }

  // tell notifies of new approvals, but not of the first list, which was there when
  // the page was opened. Only one tab passes here = true.
  tell(fresh, here) {
    const wanted = here && !this.#first && possible && Notification.permission === 'granted' && !document.hasFocus();
    this.#first = false;
    if (!wanted || fresh.length === 0) return;
    for (const a of fresh.slice(0, mostAtOnce)) this.#show(`${plain(a.agent)} asks: ${plain(a.tool)}`, plain(cut(summary(a.request, () => a.raw), 200)), a.id);
    if (fresh.length > mostAtOnce) this.#show('Rampart', `${plural(fresh.length - mostAtOnce, 'more approval')} waiting`, 'more');
  }

  #show(title, body, id) {
    let n;
    try {
      n = new Notification(title, { body, tag: `rampart ${id}`, icon: 'icon.svg' });
    } catch {
      return; // phones allow notifications only to installed pages
    }
    n.onclick = () => {
      window.focus();
      location.hash = '#approvals';
      n.close();
    };
  }
}
