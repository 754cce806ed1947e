// The function nodes of examples/node-red, each run as Node-RED does: as the body of a function.
import assert from 'node:assert/strict'
import crypto from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

const SOURCES = new URL('../../examples/node-red/src/', import.meta.url)
const START = Date.parse('2026-01-01T12:00:00.000Z')

// A tab of Node-RED with its context, and a clock that is turned by hand.
class Tab {
    constructor() {
        this.now = START
        this.flow = context()
        this.of = {}
        this.ids = 0
    }

    run(name, msg) {
        const code = readFileSync(new URL(`${name}.js`, SOURCES), 'utf8')
        const tab = this
        class Clock extends Date {
            constructor(...args) { super(...(args.length ? args : [tab.now])) }
            static now() { return tab.now }
        }
        const body = new Function('msg', 'flow', 'context', 'env', 'node', 'RED', 'Date', code)
        const node = { status: (shown) => { this.shown = shown } }
        const RED = { util: { generateId: () => `id${++this.ids}` } }
        const env = { get: (key) => ({ BASE: 'bots/alice' })[key] }
        return body(msg, this.flow, (this.of[name] ||= context()), env, node, RED, Clock)
    }

    hear(topic, said) {
        const payload = typeof said === 'string' ? said : JSON.stringify(said)
        const [, done, problems, questions] = this.run('receive', { topic: `bots/alice/${topic}`, payload }) || []
        return { done, problems, questions }
    }

    send(payload) {
        const [out] = this.run('send', { payload })
        return { topic: out.topic, ...JSON.parse(out.payload) }
    }

    see() {
        const [status, active, catalog, positions, history, results] = this.run('views', {})
        return { status, active, catalog, positions, history, results }
    }
}

function context() {
    const kept = {}
    return { get: (key) => kept[key], set: (key, value) => { kept[key] = value } }
}

function response(id, changes = {}) {
    return {
        id, name: 'mode', status: 'EXECUTED', data: {}, warnings: [], error: null, source: 'node-red',
        received_at: '2026-01-01T12:00:01.000Z', ...changes,
    }
}

test('a click is a command with an id that expires in a minute', () => {
    const tab = new Tab()
    tab.hear('availability', 'offline')
    const sent = tab.send({ topic: 'cryptos/ETH/set', value: 'ON', topic_id: 13, key: 'ETH' })
    assert.deepEqual(sent, {
        topic: 'bots/alice/cryptos/ETH/set', value: 'ON', topic_id: 13, id: 'node-red-id1id2', source: 'node-red',
        issued_at: '2026-01-01T12:00:00.000Z', expires_at: '2026-01-01T12:01:00.000Z',
    })
    assert.notEqual(tab.send({ topic: 'request/flatten', key: 'flatten' }).id, sent.id)
})

test('what was clicked is pending until the bot answers, and not a moment longer', () => {
    const tab = new Tab()
    tab.hear('mode', 'STANDBY')
    const { id } = tab.send({ topic: 'mode/set', value: 'ACTIVE', key: 'mode' })
    assert.deepEqual([tab.see().status.payload.mode, tab.see().status.payload.pending], ['STANDBY', { mode: 'ACTIVE' }])
    tab.hear('response/mode', response('of somebody else'))
    assert.deepEqual(tab.see().status.payload.pending, { mode: 'ACTIVE' })
    const { done, problems } = tab.hear('response/mode', response(id))
    assert.deepEqual([done.map((toast) => toast.payload), problems], [['Mode ACTIVE: executed'], []])
    assert.deepEqual(tab.see().status.payload.pending, {})
})

test('a refusal is shown with its sentence and its code, a warning with its sentence', () => {
    const tab = new Tab()
    tab.hear('mode', 'STANDBY')
    const refused = { status: 'REJECTED', error: { code: 'NO_TOPIC', message: 'There is no topic.' } }
    const one = tab.send({ topic: 'cryptos/0G/set', value: 'ON', key: '0G' })
    const { done, problems } = tab.hear('response/cryptos', response(one.id, { name: 'cryptos', ...refused }))
    assert.deepEqual([done, problems[0].payload], [[], '0G ON: REJECTED. There is no topic. (NO_TOPIC)'])
    const two = tab.send({ topic: 'mode/set', value: 'ACTIVE', key: 'mode' })
    const warned = tab.hear('response/mode', response(two.id, { warnings: [{ code: 'NO_CRYPTOS', message: 'Idle.' }] }))
    assert.deepEqual(warned.problems.map((toast) => toast.payload), ['Mode ACTIVE: Idle.'])
})

test('a command without an answer is told of once, and forgotten when it has expired', () => {
    const tab = new Tab()
    tab.hear('mode', 'STANDBY')
    tab.send({ topic: 'mode/set', value: 'ACTIVE', key: 'mode' })
    tab.now += 4999
    assert.equal(tab.run('tick', {})[1].length, 0)
    tab.now += 1
    assert.match(tab.run('tick', {})[1][0].payload, /^No answer from the bot to mode\/set yet/)
    assert.equal(tab.run('tick', {})[1].length, 0)
    tab.now += 55001
    tab.run('tick', {})
    assert.deepEqual(tab.see().status.payload.pending, {})
})

test('the light is grey until the first heartbeat, then green, and red after three intervals', () => {
    const tab = new Tab()
    tab.hear('info', { settings: { BOT_HEARTBEAT_INTERVAL_S: '2' } })
    assert.equal(tab.see().status.payload.color, 'grey')
    tab.hear('heartbeat', { revision: 1 })
    assert.equal(tab.see().status.payload.color, 'green')
    tab.now += 6000
    assert.equal(tab.see().status.payload.color, 'green')
    tab.now += 1
    assert.equal(tab.see().status.payload.color, 'red')
    tab.hear('heartbeat', { revision: 1 })
    assert.equal(tab.see().status.payload.color, 'green')
    tab.hear('availability', 'offline')
    assert.equal(tab.see().status.payload.says, 'the bot is offline')
    tab.run('receive', { status: { fill: 'red' } })
    assert.equal(tab.see().status.payload.says, 'Node-RED has no connection to the broker')
})

test('a revision that was missed is asked for, when two heartbeats have it', () => {
    const tab = new Tab()
    tab.hear('status', { revision: 4 })
    assert.equal(tab.hear('heartbeat', { revision: 5 }).questions.length, 0)
    assert.deepEqual(tab.hear('heartbeat', { revision: 5 }).questions[0].payload.topic, 'request/publish_state')
    tab.hear('status', { revision: 5 })
    assert.equal(tab.hear('heartbeat', { revision: 5 }).questions.length, 0)
})

test('a bot that comes online is asked for its catalog and its history', () => {
    const tab = new Tab()
    const { questions } = tab.hear('availability', 'online')
    assert.deepEqual(questions.map((each) => each.payload.topic), ['request/catalog', 'request/history'])
    const catalog = tab.send(questions[0].payload)
    const coin = { symbol: 'BTC', availability: 'both', topics: [], price: 1, volume_24h: 2, active: false }
    tab.hear('response/catalog', response('not ours', { name: 'catalog', data: { cryptos: [] } }))
    tab.hear('response/catalog', response(catalog.id, { name: 'catalog', data: { cryptos: [coin] } }))
    assert.deepEqual(tab.see().catalog.payload.coins.map((each) => each.symbol), ['BTC'])
    tab.hear('cryptos', { BTC: 14 })
    assert.deepEqual(tab.see().catalog.payload.coins, [])
    assert.deepEqual(tab.see().active, null)
})

test('the history has each command once, whoever sent it, in words, and no questions', () => {
    const tab = new Tab()
    const { questions } = tab.hear('availability', 'online')
    const history = tab.send(questions[1].payload)
    const row = (second, topic, command, name = 'cryptos') => ({
        id: null, name, status: 'EXECUTED', error: null, source: null, topic: `bots/alice/${topic}`, command,
        received_at: `2026-01-01T11:00:0${second}.000Z`,
    })
    tab.hear('response/mode', response(null, { name: 'mode', data: { mode: 'ACTIVE' }, received_at: row(5).received_at }))
    const commands = [
        row(6, 'request/catalog', '{}', 'catalog'), row(5, 'mode/set', 'active', 'mode'),
        row(4, 'cryptos/set', '["BTC","ETH"]'), row(3, 'cryptos/set', 'NONE'), row(2, 'cryptos/BTC/set', '{"value":"on","id":"x"}'),
        row(1, 'config/set', '{"price_gap_pct":0.4,"source":"me"}', 'config'), row(0, 'request/reset_breaker', '{"name":"a"}', 'reset_breaker'),
    ]
    tab.hear('response/history', response(history.id, { name: 'history', data: { commands } }))
    assert.deepEqual(tab.see().history.payload.commands.map((each) => each.what), [
        'Mode ACTIVE', 'Coins BTC, ETH', 'Coins NONE', 'BTC ON', 'Setting price_gap_pct:0.4', 'Reset breaker name:a',
    ])
})

test('anything may come on any topic', () => {
    const tab = new Tab()
    for (const topic of ['heartbeat', 'status', 'response/mode', 'event/command', 'cryptos', 'cryptos/BTC', 'positions', 'info', 'x/y/z']) {
        for (const said of ['', 'null', '{', '[]', '7', '"text"', '{"a":1}']) {
            tab.hear(topic, said)
            tab.see()
        }
    }
})

test('with core nodes: sent again with the same id until there is an answer, three times at most', () => {
    const tab = new Tab()
    const sent = JSON.parse(tab.run('command', { topic: 'mode/set', payload: 'STANDBY' }).payload)
    const ids = [sent.id]
    for (const _ of [2, 3]) {
        tab.now += 9999
        assert.deepEqual(tab.run('unanswered', {}), [[], []])
        tab.now += 1
        const [[again]] = tab.run('unanswered', {})
        ids.push(JSON.parse(tab.run('command', again).payload).id)
    }
    assert.equal(new Set(ids).size, 1)
    const late = { id: sent.id, status: 'DUPLICATE', error: null }
    const other = new Tab()
    assert.deepEqual(other.run('answer', { payload: JSON.stringify(late) }), [null, null])
    tab.now += 10000
    assert.match(tab.run('unanswered', {})[1][0].payload, /no answer/)
    assert.deepEqual(tab.run('answer', { payload: JSON.stringify(late) }), [null, null])
})

test('with core nodes: the answer to a command goes one way, a refusal the other', () => {
    const tab = new Tab()
    const ask = () => JSON.parse(tab.run('command', { topic: 'mode/set', payload: 'ACTIVE' }).payload).id
    const answer = (changes) => tab.run('answer', { payload: JSON.stringify({ id: ask(), status: 'EXECUTED', error: null, ...changes }) })
    assert.equal(answer({})[0].payload, 'mode/set: EXECUTED.')
    const error = { code: 'BREAKER_OPEN', message: 'Wait.' }
    assert.deepEqual(answer({ status: 'REJECTED', error })[1].payload, 'mode/set: REJECTED. Wait. (BREAKER_OPEN)')
})

test('an answer that comes twice is one command, in the words of what was sent', () => {
    const tab = new Tab()
    tab.hear('mode', 'STANDBY')
    const { id } = tab.send({ topic: 'cryptos/BTC/set', value: 'ON', key: 'BTC' })
    for (const _ of [1, 2]) tab.hear('response/cryptos', response(id, { name: 'cryptos', data: { active: { BTC: 14 } } }))
    assert.deepEqual(tab.see().history.payload.commands.map((each) => each.what), ['BTC ON'])
})

test('results are asked for again when a position has closed, and a long curve is thinned', () => {
    const tab = new Tab()
    tab.hear('event/position_closed', { symbol: 'BTC' })
    tab.now += 2999
    assert.deepEqual(tab.run('tick', {})[2], [])
    tab.now += 1
    const questions = tab.run('tick', {})[2]
    assert.deepEqual(tab.run('tick', {})[2], [])
    assert.deepEqual(questions.map((each) => each.payload.topic), ['request/trades', 'request/performance'])
    const { id } = tab.send(questions[1].payload)
    const equity = Array.from({ length: 5000 }, (_, place) => ({ at: '2026-01-01T00:00:00.000Z', equity_usd: place }))
    tab.hear('response/performance', response(id, { name: 'performance', data: { pnl_usd: 1, equity } }))
    const shown = tab.see().results.payload.equity
    assert.ok(shown.length <= 302 && shown.length > 250)
    assert.deepEqual([shown[0].equity_usd, shown.at(-1).equity_usd], [0, 4999])
})

test('what goes to the bot is signed as the vectors say, where there is a secret', () => {
    const code = readFileSync(new URL('sign.js', SOURCES), 'utf8')
    const sign = (setting, msg) => new Function('msg', 'env', 'crypto', code)(msg, { get: () => setting }, crypto)
    const vectors = JSON.parse(readFileSync(new URL('protocol/signed_vectors.json', import.meta.url), 'utf8'))
    for (const { says, setting, topic, command, signed, key, signature } of vectors) {
        const sent = sign(setting, { topic, payload: JSON.stringify(command), qos: 1 })
        assert.deepEqual([sent.topic, sent.qos], [topic, 1])
        if (!says.startsWith('spaces')) {
            assert.deepEqual(JSON.parse(sent.payload), { signed, key, signature }, says)
        }
    }
    const lines = sign(`\n bob:${'b'.repeat(32)} \nalice:${'a'.repeat(32)}\n`, { topic: 't', payload: '{}' })
    assert.equal(JSON.parse(lines.payload).key, 'bob')
    assert.deepEqual(sign(undefined, { topic: 't', payload: 'ON' }), { topic: 't', payload: 'ON' })
})
