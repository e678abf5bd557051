// Local times. The exact UTC timestamp is in the title.

import { h } from './dom.js';

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: 'numeric' });
const short = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

const isToday = (date) => date.toDateString() === new Date().toDateString();

// local gives the time of day if the timestamp is of today, else its day and minute.
function local(timestamp) {
  const date = new Date(timestamp);
  return isToday(date) ? clock.format(date) : short.format(date);
}

export function localFull(timestamp) {
  const date = new Date(timestamp);
  return `${day.format(date)}, ${clock.format(date)}`;
}

// time makes an element for a timestamp of the log.
export function time(timestamp, show = local) {
  return h('time', { datetime: timestamp, title: timestamp }, show(timestamp));
}

// left says how long an approval may still wait.
export function left(ms) {
  const s = Math.ceil(ms / 1000);
  if (s <= 0) return 'expiring';
  const pad = (n) => String(n).padStart(2, '0');
  const [d, hr, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d > 0) return `${d} d ${hr} h left`;
  if (hr > 0) return `${hr}:${pad(m)}:${pad(s % 60)} left`;
  return `${m}:${pad(s % 60)} left`;
}
