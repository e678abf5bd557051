// The proof view: whether the log is whole, as the server says and as this page
// has checked itself.

import { canHash, position } from './chain.js';
import { byId } from './dom.js';
import { bytes, number, plural } from './text.js';
import { localFull } from './time.js';

export class Proof {
  #asking = false;
  #due = 0;

  constructor(log) {
    this.log = log;
    byId('verify').onclick = () => this.#verify();
    byId('verify').disabled = false;
    byId('verify-result').textContent = '';
    delete byId('verify-result').dataset.ok;
    log.addEventListener('change', () => this.show());
    log.addEventListener('row', () => { this.#due ||= setTimeout(() => this.show(), 500); });
  }

  // show brings the view up to date, if it is visible.
  async show() {
    clearTimeout(this.#due);
    this.#due = 0;
    if (byId('proof').hidden) return;
    this.#own();
    if (this.#asking) return;
    this.#asking = true;
    try {
      this.#server(await this.log.api.get('status'));
    } catch (error) {
      byId('disk').textContent = `The server could not be asked: ${error.message}.`;
    }
    this.#asking = false;
  }

  #server(status) {
    byId('events-count').textContent = number(status.events);
    byId('head-id').textContent = status.head.id || 'none yet';
    byId('head-hash').textContent = status.head.hash;
    byId('disk').textContent = `${bytes(status.bytes)} in ${plural(status.segments, 'file')}; synced: ${status.sync}`;
    byId('mismatches').textContent = number(status.witness_mismatches);
    const v = status.last_verify;
    byId('last-verify').textContent = v ? `${localFull(v.at)}: ${v.ok ? 'whole' : v.verdict}, ${plural(v.events, 'event')}` : 'not since the server started';
  }

  #own() {
    const { checked, since, witness: { last } } = this.log;
    byId('checked').textContent = number(checked);
    byId('checked-since').textContent = !canHash ? 'by their links only: this browser computes hashes only for pages that come by https or from this machine'
      : since ? `events in a row, from ${localFull(since)} on` : 'events';
    byId('witness').textContent = last ? `${position(last)}, seen ${localFull(last.at)}` : 'nothing yet';
  }

  async #verify() {
    const [button, result] = [byId('verify'), byId('verify-result')];
    const { last } = this.log.witness;
    button.disabled = true;
    delete result.dataset.ok;
    result.textContent = 'The server reads the whole log…';
    try {
      const response = await this.log.api.fetch('audit/verify', { params: last ? { id: last.id, hash: last.hash } : {}, patient: true });
      const report = await response.json();
      result.dataset.ok = report.ok;
      result.textContent = report.ok ? whole(report, last) : broken(report);
    } catch (error) {
      result.textContent = `Not verified: ${error.message}. Try again.`;
    }
    button.disabled = false;
    this.show();
  }
}

function whole(report, last) {
  const pruned = report.pruned ? ` ${plural(report.pruned.records, 'older event')} pruned, which is on record.` : '';
  const seen = last ? ' The event that this page remembers is in it.' : '';
  return `Whole: ${plural(report.events, 'event')}, every hash and link fits.${seen}${pruned} The head is ${report.last_id || 'none'}.`;
}

function broken(r) {
  const place = r.segment ? ` in ${r.segment}, line ${r.line}, byte ${r.offset}` : '';
  return `NOT WHOLE: ${r.verdict}${place}${r.id && `, event ${r.id}`}. Expected ${r.expected}; found ${r.found}. Keep a copy of the log's directory, and see docs/operations.md on what to do.`;
}
