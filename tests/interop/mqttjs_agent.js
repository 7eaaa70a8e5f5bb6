// mqtt.js behind lines of JSON on standard input and output, so that the scenarios (Python) drive
// it like any other library. A request {call, client, op, ...} is answered by {call, value} or
// {call, error, code}; {client, event, ...} comes without being asked for.
'use strict'

const mqtt = require('mqtt')
const readline = require('readline')

const clients = new Map()

function say (line) {
  process.stdout.write(JSON.stringify(line) + '\n')
}

function answer (call, error, value) {
  if (error) say({ call, error: String(error.message || error), code: error.code })
  else say({ call, value: value === undefined ? null : value })
}

function binary (properties) {
  if (properties && properties.correlationData) {
    return { ...properties, correlationData: Buffer.from(properties.correlationData, 'base64') }
  }
  return properties
}

function printable (properties) {
  const copy = { ...properties }
  if (copy.correlationData) copy.correlationData = copy.correlationData.toString('base64')
  if (copy.userProperties) {
    copy.userProperties = Object.entries(copy.userProperties).flatMap(([name, value]) =>
      [].concat(value).map(one => [name, one]))
  }
  return copy
}

const operations = {
  connect (request) {
    const options = { ...request.options, reconnectPeriod: 0, resubscribe: false }
    if (options.will) {
      options.will.payload = Buffer.from(options.will.payload, 'base64')
      options.will.properties = binary(options.will.properties)
    }
    const client = mqtt.connect(request.url, options)
    clients.set(request.client, client)
    let answered = false
    const once = (error, value) => {
      if (!answered) answer(request.call, error, value)
      answered = true
    }
    client.on('connect', packet => {
      once(null, { sessionPresent: packet.sessionPresent, properties: printable(packet.properties) })
    })
    client.on('error', error => once(error))
    client.on('message', (topic, payload, packet) => say({
      client: request.client,
      event: 'message',
      topic,
      payload: payload.toString('base64'),
      qos: packet.qos,
      retain: packet.retain,
      dup: packet.dup,
      properties: printable(packet.properties)
    }))
    client.on('disconnect', packet => say({
      client: request.client, event: 'disconnect', reason: packet.reasonCode || 0
    }))
    client.on('close', () => {
      once(new Error('closed before CONNACK'))
      say({ client: request.client, event: 'close' })
    })
  },

  subscribe (request) {
    clients.get(request.client).subscribe(request.filter, request.options, (error, _subs, packet) => {
      if (packet && packet.granted) answer(request.call, null, packet.granted)
      else answer(request.call, error || new Error('no SUBACK'))
    })
  },

  unsubscribe (request) {
    clients.get(request.client).unsubscribe(request.filter, error => answer(request.call, error))
  },

  publish (request) {
    const options = { ...request.options, properties: binary(request.options.properties) }
    const payload = Buffer.from(request.payload, 'base64')
    clients.get(request.client).publish(request.topic, payload, options,
      error => answer(request.call, error))
  },

  publishMany (request) {
    const client = clients.get(request.client)
    // mqtt.js leaves the server's receive maximum (MQTT 5) to its user. Before MQTT 5 there is no
    // such limit, so all are sent at once.
    const limits = client._serverProperties || {}
    const window = client.options.protocolVersion === 5 ? limits.receiveMaximum || 65535 : Infinity
    const waiting = request.payloads.map(payload => Buffer.from(payload, 'base64'))
    let left = waiting.length
    let inFlight = 0
    const next = () => {
      while (waiting.length > 0 && inFlight < window) {
        inFlight += 1
        client.publish(request.topic, waiting.shift(), request.options, error => {
          inFlight -= 1
          left -= 1
          if (error || left === 0) answer(request.call, error)
          else next()
        })
      }
    }
    next()
  },

  disconnect (request) {
    clients.get(request.client).end(false, request.options, () => answer(request.call))
  },

  abort (request) {
    clients.get(request.client).stream.destroy()
    answer(request.call)
  }
}

readline.createInterface({ input: process.stdin }).on('line', line => {
  const request = JSON.parse(line)
  try {
    operations[request.op](request)
  } catch (error) {
    answer(request.call, error)
  }
}).on('close', () => process.exit(0))
