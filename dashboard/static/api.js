// The part of the server's API that the page calls.

const meta = (name) => document.querySelector(`meta[name="rampart-${name}"]`).content;

// base is the address of the API: beside the page, unless the host says otherwise.
export const base = new URL(meta('api'), location.href).href;

// byHost means that the host's own session lets this page in, without a token.
export const byHost = meta('sign-in') === 'host';

const patience = 15_000; // ms until an answer must begin
const longPatience = 600_000; // the same for an answer that needs the whole log read
const bodyPatience = 120_000; // ms from then until it must end, since a dead connection gives no error

// ApiError is an answer with an error. Status 0 means that there was no answer, so
// that a change may or may not have been made.
class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Api {
  #refused = new Set();
  #skew = 0;

  constructor(token) {
    this.token = token;
  }

  // onRefused makes f be called with the reason when the server no longer accepts the token.
  onRefused(f) {
    this.#refused.add(f);
  }

  // now is the server's time in ms, accurate to a second or two.
  now() {
    return Date.now() + this.#skew;
  }

  async get(path, params) {
    return (await this.fetch(path, { params })).json();
  }

  async post(path, body) {
    const response = await this.fetch(path, {
      method: 'POST', body: JSON.stringify(body ?? {}), headers: { 'Content-Type': 'application/json' },
    });
    return response.json();
  }

  async fetch(path, { params, headers = {}, signal, patient = false, ...options } = {}) {
    const url = new URL(path, base);
    for (const [name, value] of Object.entries(params ?? {})) {
      for (const v of [value].flat()) if (v !== '' && v !== null && v !== undefined) url.searchParams.append(name, v);
    }
    if (this.token) headers = { ...headers, Authorization: `Bearer ${this.token}` };
    const limit = new AbortController();
    const silent = new ApiError(0, 'the server does not answer');
    const within = (ms) => setTimeout(() => limit.abort(silent), ms);
    const timer = within(patient ? longPatience : patience);
    let response;
    try {
      response = await fetch(url, {
        ...options, headers, cache: 'no-store', redirect: 'manual',
        signal: signal ? AbortSignal.any([signal, limit.signal]) : limit.signal,
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw silent;
    } finally {
      clearTimeout(timer);
    }
    if (!patient) within(bodyPatience); // once the answer has ended, the abort does nothing
    const date = Date.parse(response.headers.get('Date'));
    if (date && Math.abs(date - this.now()) > 2000) this.#skew = date - Date.now();
    if (response.ok) return response;
    if (response.type === 'opaqueredirect') return this.#end(401, 'the server redirects the page elsewhere, probably to a sign-in');
    const message = await response.json().then((b) => b.error, () => null) ?? `${response.status} ${response.statusText}`;
    // A host may refuse one route with 403 and allow others.
    return this.#end(response.status, message, response.status === 403 && path !== 'status');
  }

  #end(status, message, thisRouteOnly = false) {
    if (!thisRouteOnly && (status === 401 || status === 403)) for (const f of this.#refused) f(message);
    throw new ApiError(status, message);
  }
}
