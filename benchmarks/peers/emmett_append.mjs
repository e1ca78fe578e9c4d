// node emmett_append.mjs URL SECONDS CONNECTIONS: append to a stream of its own each time, one event; print how many a second.
import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';

const [url, seconds, connections] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const store = getPostgreSQLEventStore(url);
const event = (n) => ({
  type: 'PledgeAnnounced',
  data: { pledge: `p-${n}`, donors: ['GBR'], capability: 'drone.fpv', amount: '5', note: 'x'.repeat(300) },
});
await store.appendToStream('warm-up', [event(0)]);
const began = performance.now();
const until = began + seconds * 1000;
let appended = 0;
const client = async (which) => {
  for (let n = 0; performance.now() < until; n += 1) {
    await store.appendToStream(`pledge-${which}-${n}`, [event(n)], { expectedStreamVersion: 'STREAM_DOES_NOT_EXIST' });
    appended += 1;
  }
};
await Promise.all(Array.from({ length: connections }, (_, which) => client(which)));
console.log(JSON.stringify({ per_second: appended / ((performance.now() - began) / 1000) }));
await store.close();
process.exit(0);
