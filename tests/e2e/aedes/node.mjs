// One node of a clustered broker: `node.mjs NAME PORT REDIS_PORT`. What the nodes share is in Redis.
import { createServer } from 'node:net'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import path from 'node:path'

// The packages are where tests/e2e/install_aedes has put them.
const require = createRequire(path.join(process.env.AEDES_ROOT, 'package.json'))
const load = async (name) => import(pathToFileURL(require.resolve(name)))
const { Aedes } = await load('aedes')
const { default: emitter } = await load('mqemitter-redis')
const { default: persistence } = await load('aedes-persistence-redis')

const [name, port, redisPort] = process.argv.slice(2)
const redis = { host: '127.0.0.1', port: Number(redisPort) }
// The default leaves all but 1000 of the messages that waited for a client in Redis.
const store = persistence({ ...redis, maxSessionDelivery: 100000 })
// aedes 1.2.0 stores all topics of a SUBSCRIBE once for each of them, and hears of the last time only: a persistent session
// that asks for several topics at once gets no SUBACK. Once is enough.
const add = store.addSubscriptions.bind(store)
const added = new WeakMap()
store.addSubscriptions = (client, topics) => {
  if (!added.has(topics)) added.set(topics, add(client, topics))
  return added.get(topics)
}
const broker = await Aedes.createBroker({
  id: name,
  // The others tell the wills of a node's clients when it has been silent for some of these.
  heartbeatInterval: 1000,
  mq: emitter(redis),
  persistence: store,
})
createServer({ noDelay: true }, broker.handle).listen(Number(port), '127.0.0.1', () => console.log('listening'))
