// The AI SDK beyond the guide: address and key come as arguments, what it saw goes out as JSON.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateObject, generateText, streamText } from 'ai'
import { z } from 'zod'

const [baseURL, apiKey] = process.argv.slice(2)
const options = { name: 'grok', baseURL, apiKey, includeUsage: true }
const grok = createOpenAICompatible({ ...options, supportsStructuredOutputs: true })
const seen = {}

const whole = await generateText({ model: grok('grok-3'), prompt: 'hi' })
seen.whole = whole.text
seen.finish = whole.finishReason
seen.usage = whole.usage.outputTokens > 0

const streamed = streamText({ model: grok('grok-3'), prompt: 'hi' })
seen.streamed = ''
for await (const text of streamed.textStream) seen.streamed += text
seen.streamUsage = (await streamed.usage).outputTokens > 0

const thinking = streamText({
  model: grok('grok-3-reasoning'),
  prompt: 'hi',
  headers: { 'x-thinking-format': 'reasoning_content' },
})
seen.reasoning = ''
for await (const part of thinking.fullStream) {
  if (part.type === 'reasoning-delta') seen.reasoning += part.text
}

const made = await generateObject({
  model: grok('grok-3'),
  schema: z.object({ name: z.string() }),
  prompt: '[[say:{"name": "blue"}:say]]',
})
seen.object = made.object

try {
  await generateText({ model: grok('grok-3'), prompt: '[[fault:block_page]]', maxRetries: 0 })
} catch (error) {
  seen.error = [error.statusCode, error.message.includes('challenge')]
}

seen.streamError = false
const broken = streamText({
  model: grok('grok-3'),
  prompt: '[[fault:error_line]]',
  maxRetries: 0,
  onError() {},
})
for await (const part of broken.fullStream) {
  if (part.type === 'error') seen.streamError = true
}
console.log(JSON.stringify(seen))
