// Keeps a Node program to this machine: node --require=offline.cjs
// What the program tries beyond that is refused, and noted in the file that OFFLINE_REPORT names.
'use strict'

const dns = require('node:dns')
const fs = require('node:fs')
const net = require('node:net')

const HERE = new Set(['127.0.0.1', '::1', 'localhost'])

function check(host) {
  if (host === undefined || HERE.has(host)) return
  fs.appendFileSync(process.env.OFFLINE_REPORT, `${host}\n`)
  throw new Error(`this program may not reach for ${host}`)
}

const connect = net.Socket.prototype.connect
net.Socket.prototype.connect = function (...args) {
  const options = Array.isArray(args[0]) ? args[0][0] : args[0]
  if (options !== null && typeof options === 'object') check(options.host)
  else if (typeof args[1] === 'string') check(args[1])
  return connect.apply(this, args)
}

for (const module of [dns, dns.promises]) {
  for (const name of ['lookup', 'resolve', 'resolve4', 'resolve6']) {
    const original = module[name]
    module[name] = function (host, ...rest) {
      check(host)
      return original.call(this, host, ...rest)
    }
  }
}
