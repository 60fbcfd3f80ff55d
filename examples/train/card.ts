export async function card(_folder: string, _all: object): Promise<void> {}
