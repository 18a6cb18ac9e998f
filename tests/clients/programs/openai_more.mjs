// openai for Node beyond the guide: address and key come as arguments, what it saw goes out as JSON.
import OpenAI from 'openai'
import { zodResponseFormat } from 'openai/helpers/zod'
import { z } from 'zod'

const [baseURL, apiKey] = process.argv.slice(2)
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 })
const ask = (content, more = {}) => ({
  model: 'grok-3',
  messages: [{ role: 'user', content }],
  ...more,
})
const create = (body, options) => client.chat.completions.create(body, options)
const seen = {}

seen.whole = (await create(ask('hi'))).choices[0].message.content

seen.streamed = ''
const usage = { stream: true, stream_options: { include_usage: true } }
for await (const chunk of await create(ask('hi', usage))) {
  seen.streamed += chunk.choices[0]?.delta?.content ?? ''
}

seen.events = []
const runner = client.chat.completions.stream(ask('hi'))
for (const name of ['connect', 'content', 'finalContent', 'error']) {
  runner.once(name, () => seen.events.push(name))
}
await runner.finalChatCompletion()

const { response } = await create(ask('hi', { seed: 1 }), {
  headers: { 'x-request-id': 'mine-2' },
}).withResponse()
seen.raw = [response.headers.get('x-request-id'), response.headers.get('x-grokproto-ignored')]

const Colour = z.object({ name: z.string() })
const parsed = await client.chat.completions.parse(
  ask('[[say:{"name": "blue"}:say]]', { response_format: zodResponseFormat(Colour, 'colour') }),
)
seen.parsed = parsed.choices[0].message.parsed

seen.pictures = []
const drawn = await client.images.generate({
  model: 'grok-3-imageGen',
  prompt: 'a heron',
  stream: true,
  partial_images: 1,
})
for await (const event of drawn) seen.pictures.push(event.type)

const names = []
for await (const model of client.models.list()) names.push(model.id)
seen.models = names.includes('grok-3') && (await client.models.retrieve('grok-3')).id === 'grok-3'

seen.errors = {}
async function fail(name, work) {
  try {
    await work()
  } catch (error) {
    seen.errors[name] = [error.constructor.name, error.status ?? null, error.code ?? null]
  }
}
await fail('key', () => new OpenAI({ baseURL, apiKey: 'sk-wrong' }).models.list())
await fail('model', () => create({ ...ask('hi'), model: 'gpt-1' }))
await fail('body', () => create({ model: 'grok-3', messages: [] }))
await fail('blocked', () => create(ask('[[fault:block_page]]'), { maxRetries: 5 }))
await fail('mid-stream', async () => {
  for await (const _ of await create(ask('[[fault:error_line]]', { stream: true }))) {
  }
})

// It tries again by itself where the server says that it may. The fault is in the first try only.
let tries = 0
const retrying = new OpenAI({
  baseURL,
  apiKey,
  maxRetries: 2,
  fetch: (url, init) => {
    tries += 1
    const body = tries === 1 ? init.body.replace('hi', '[[fault:server_error]]') : init.body
    return fetch(url, { ...init, body, headers: new Headers(init.headers) })
  },
})
const again = await retrying.chat.completions.create(ask('hi'))
seen.retried = [tries - 1, again.choices[0].message.content]

const long = await create(ask('[[fault:endless_answer]]', { stream: true }))
for await (const _ of long) break
seen.left = long.controller.signal.aborted
console.log(JSON.stringify(seen))
