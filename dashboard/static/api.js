// The daemon's API, as the page speaks it.

const meta = (name) => document.querySelector(`meta[name="rampart-${name}"]`).content;

// base is where the API is: beside the page, unless its host says otherwise.
export const base = new URL(meta('api'), location.href).href;

// byHost means that the host's own session lets this page in, without a token.
export const byHost = meta('sign-in') === 'host';

const patience = 15_000; // ms for an answer to begin
const longPatience = 600_000; // for one that reads the whole log
const bodyPatience = 120_000; // and to end: a connection that died meanwhile says nothing

// ApiError is an answer that is no success; status 0 when there was none at
// all, so that what a change of state has come to is not known.
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

  // onRefused calls f with the reason once these credentials are not accepted any more.
  onRefused(f) {
    this.#refused.add(f);
  }

  // now is the server's time in milliseconds, to the second.
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
    if (!patient) within(bodyPatience); // aborting what has ended does nothing
    const date = Date.parse(response.headers.get('Date'));
    if (date && Math.abs(date - this.now()) > 2000) this.#skew = date - Date.now();
    if (response.ok) return response;
    if (response.type === 'opaqueredirect') return this.#end(401, 'the server leads elsewhere, as a rule to sign in');
    const message = await response.json().then((b) => b.error, () => null) ?? `${response.status} ${response.statusText}`;
    // What a host refuses on one route may be allowed on others.
    return this.#end(response.status, message, response.status === 403 && path !== 'status');
  }

  #end(status, message, alone = false) {
    if (!alone && (status === 401 || status === 403)) for (const f of this.#refused) f(message);
    throw new ApiError(status, message);
  }
}
