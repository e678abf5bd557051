// Prints the data of every message of a stream, as the package's own users
// would get it: node listen.js URL, with the token in TOKEN.
import { EventSource } from 'eventsource'

const source = new EventSource(process.argv[2], {
  fetch: (url, init) =>
    fetch(url, { ...init, headers: { ...init.headers, Authorization: `Bearer ${process.env.TOKEN}` } }),
})
source.onmessage = (event) => process.stdout.write(event.data + '\n')
source.onerror = (event) => process.stderr.write(`${event.message}\n`)
