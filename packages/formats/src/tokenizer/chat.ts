import { fail } from "@thimble/core"

/** A turn of a conversation; templates may read more than role and content. */
export interface ChatMessage { readonly role: string; readonly content: string; readonly [more: string]: unknown }

export interface ChatOptions {
  /** Used instead of the model's own template (Jinja). */
  readonly template?: string
  /** Ends with what makes the model answer. */
  readonly answer?: boolean
  /** Whatever else the template reads, such as `tools`. */
  readonly values?: Readonly<Record<string, unknown>>
}

/** @internal */
export async function renderChat(source: string, messages: readonly ChatMessage[], { answer = false, values }: ChatOptions, tokens: Readonly<Record<string, string>>): Promise<string> {
  const { Template } = await import("@huggingface/jinja")
  try {
    return new Template(source).render({ ...tokens, ...values, messages, add_generation_prompt: answer })
  } catch (e) {
    return fail("value", "chat", `the template does not render: ${(e as Error).message}`)
  }
}
