// mqtt.js over the transport its URL names: small and large messages there and back, then a clean end.
//   node transports.js URL VERSION [CA FILE]
'use strict'

const fs = require('fs')
const mqtt = require('mqtt')

const [url, version, ca] = process.argv.slice(2)
const payloads = [Buffer.from('small'), Buffer.alloc(0), Buffer.alloc(70000, 'x'), Buffer.alloc(300000, 'y')]
const topic = `transports/${process.pid}`
const options = { protocolVersion: Number(version), reconnectPeriod: 0, connectTimeout: 20000 }
if (version === '3') options.protocolId = 'MQIsdp'
if (ca) options.ca = fs.readFileSync(ca)
const client = mqtt.connect(url, options)
let next = 0

function fail (why) {
  console.error(String(why))
  process.exit(1)
}

client.on('error', fail)
client.on('close', () => { if (next < payloads.length) fail('closed') })
client.on('connect', () => {
  client.subscribe(topic, { qos: 1 }, error => {
    if (error) fail(error)
    for (const payload of payloads) client.publish(topic, payload, { qos: 1 })
  })
})
client.on('message', (_, payload) => {
  if (!payload.equals(payloads[next])) fail(`message ${next} is another`)
  next += 1
  if (next === payloads.length) client.end(false, {}, () => process.exit(0))
})
